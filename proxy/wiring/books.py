"""The books of one house: what it knows of questions, answers, messages and numbers, and what of it is kept."""

from collections.abc import Iterator

from proxy.core.elicitation import Elicitation
from proxy.core.inbox import Inbox
from proxy.core.journal import Change, Recovered, Write
from proxy.core.questions import QuestionBook
from proxy.core.sent_questions import SentQuestions
from proxy.core.sequences import SequenceMap
from proxy.core.told_questions import ToldQuestions
from proxy.flows.naming import AnswerNames
from proxy.ports import Clock


class Books:
    """What a house knows; every change of it goes to the journal."""

    __slots__ = ("_clock", "_write", "inbox", "names", "questions", "sent", "sequences", "told")

    def __init__(self, clock: Clock, write: Write, *, redeliver_s: float) -> None:
        self._clock = clock
        self._write = write
        self.sent = SentQuestions()
        self.told = ToldQuestions(write)
        self.questions = QuestionBook(redeliver_s=redeliver_s, write=self._note, withholds=self._withholds)
        self.names = AnswerNames(self.questions, clock, write)
        self.sequences = SequenceMap(write=write)
        self.inbox = Inbox(write=write)

    def _note(self, change: Change) -> None:
        self.sent.hear(change)
        self.told.hear(change)
        self._write(change)

    def _withholds(self, question: Elicitation) -> bool:
        return self.sent.withholds(question) or self.told.withholds(question)

    def restore(self, kept: Recovered) -> None:
        """Begin with what an earlier process kept."""
        if kept.numbering is not None:
            self.sequences.restore(kept.numbering)
        self.sent.restore(kept.questions)
        self.told.restore(kept.told, kept.questions)
        self.questions.restore(kept.questions, now=self._clock.now())
        self.names.restore(kept.names)
        self.inbox.restore(kept)

    def snapshot(self) -> Iterator[Change]:
        """Everything that has to outlive us, as changes that would bring it about."""
        yield self.sequences.numbering()
        yield from self.questions.snapshot()
        yield from self.told.snapshot()
        yield from self.names.snapshot()
        yield from self.inbox.snapshot()

    def prune(self) -> None:
        """Forget questions that are long over."""
        self.questions.prune(now=self._clock.now(), wall=self._clock.wall())

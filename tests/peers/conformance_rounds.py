"""The multi round-trip half of the conformance server: tools and a prompt that answer `input_required` first."""

from collections.abc import Mapping

from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from mcp_types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY

Asked = Mapping[str, ElicitRequest | CreateMessageRequest | ListRootsRequest]


def form(message: str, field: str, kind: str = "string") -> ElicitRequest:
    """A question with one field."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(words: str, most: int) -> CreateMessageRequest:
    """A question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=words))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most))


def content_of(ctx: Context, key: str) -> Mapping[str, object] | None:
    """What was answered under a key, if it was an answer to a form."""
    return getattr((ctx.input_responses or {}).get(key), "content", None) or None


def ask(asked: Asked, state: str | None = None) -> InputRequiredResult:
    """A round that asks."""
    return InputRequiredResult(input_requests=dict(asked), request_state=state)


def has_all(ctx: Context, asked: Asked) -> bool:
    """Whether every question was answered."""
    return ctx.input_responses is not None and asked.keys() <= ctx.input_responses.keys()


async def elicitation(ctx: Context) -> str | InputRequiredResult:
    """Ask for a name; an answer without one is asked for again."""
    name = (content_of(ctx, "user_name") or {}).get("name")
    if not isinstance(name, str):
        return ask({"user_name": form("What is your name?", "name")})
    return f"Hello, {name}!"


async def sampling(ctx: Context) -> str | InputRequiredResult:
    """Ask the client's model."""
    asked = {"capital_question": sample("What is the capital of France?", 100)}
    if not has_all(ctx, asked):
        return ask(asked)
    return f"The model said: {ctx.input_responses['capital_question'].content.text}"


async def list_roots(ctx: Context) -> str | InputRequiredResult:
    """Ask for the roots."""
    asked = {"client_roots": ListRootsRequest()}
    if not has_all(ctx, asked):
        return ask(asked)
    return f"Roots: {', '.join(str(root.uri) for root in ctx.input_responses['client_roots'].roots)}"


async def request_state(ctx: Context) -> str | InputRequiredResult:
    """Ask, and expect the state back."""
    asked = {"confirm": form("Please confirm", "ok", "boolean")}
    if not has_all(ctx, asked):
        return ask(asked, "confirming")
    if ctx.request_state != "confirming":
        raise MCPError(INVALID_PARAMS, "expected the state of the first round")
    return "state-ok"


async def multiple_inputs(ctx: Context) -> str | InputRequiredResult:
    """Ask three different things at once."""
    asked = {
        "user_name": form("What is your name?", "name"),
        "greeting": sample("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    if not has_all(ctx, asked):
        return ask(asked, "three at once")
    return "Got all three."


async def multi_round(ctx: Context) -> str | InputRequiredResult:
    """Ask twice, one after the other."""
    if color := (content_of(ctx, "step2") or {}).get("color"):
        return f"{ctx.request_state} likes {color}."
    if name := (content_of(ctx, "step1") or {}).get("name"):
        return ask({"step2": form("Step 2: What is your favorite color?", "color")}, str(name))
    return ask({"step1": form("Step 1: What is your name?", "name")}, "step 1")


async def tampered_state(ctx: Context) -> str | InputRequiredResult:
    """Ask with a state that the SDK seals; a tampered one does not get here."""
    asked = {"confirm": form("Please confirm", "ok", "boolean")}
    return "state-ok" if has_all(ctx, asked) else ask(asked, "sealed")


async def capabilities(ctx: Context) -> str | InputRequiredResult:
    """Ask only what the client declared."""
    declared, asked = ctx.client_capabilities, {}
    if declared is not None and declared.elicitation is not None:
        asked["user_name"] = form("What is your name?", "name")
    if declared is not None and declared.sampling is not None:
        asked["greeting"] = sample("Generate a greeting", 50)
    return "Nothing to ask." if not asked or has_all(ctx, asked) else ask(asked)


async def missing_capability(ctx: Context) -> str:
    """Insist on a capability."""
    declared = ctx.client_capabilities
    if declared is None or declared.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling", needed)
    return "Sampling is declared."


async def streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Report progress, then ask."""
    await ctx.report_progress(1, 2)
    return await elicitation(ctx)


async def prompt(ctx: Context) -> str | InputRequiredResult:
    """Ask for what the prompt is about."""
    context = (content_of(ctx, "user_context") or {}).get("context")
    if context is None:
        return ask({"user_context": form("What context should the prompt use?", "context")})
    return f"Prompt with context: {context}"


def add_rounds(server: MCPServer) -> None:
    """Offer them all by the names that the suite calls."""
    named = {
        "test_input_required_result_elicitation": elicitation,
        "test_input_required_result_sampling": sampling,
        "test_input_required_result_list_roots": list_roots,
        "test_input_required_result_request_state": request_state,
        "test_input_required_result_multiple_inputs": multiple_inputs,
        "test_input_required_result_multi_round": multi_round,
        "test_input_required_result_tampered_state": tampered_state,
        "test_input_required_result_capabilities": capabilities,
        "test_missing_capability": missing_capability,
        "test_streaming_elicitation": streaming_elicitation,
    }
    for name, tool in named.items():
        server.add_tool(tool, name=name, structured_output=False)
    server.prompt(name="test_input_required_result_prompt")(prompt)

// The REST half of a Bridge's MCP server for Node, the same as peer_bridge.py: what its tools do, whatever SDK offers
// them. Refused calls but the wait give the Bridge session up, and then there is none until the process ends.

const SPARE_S = 10;
const CALL_S = 30;
const LOOK_MS = 50;

const told = async (reply) => ({ error: `Bridge returned status ${reply.status}: ${await reply.text()}` });
const pause = (ms, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), done()));
  });

export class Bridge {
  // `tell` hears of each answer of a client before the Bridge does.
  constructor(base, agent, tell = () => {}) {
    Object.assign(this, { base, agent, tell, tokens: new Map(), spoilt: false });
  }

  async wait(agent_id, timeout_seconds, since, signal) {
    const query = new URLSearchParams({ agent_id, timeout_seconds, ...(since != null && { since_sequence: since }) });
    const reply = await this.send("GET", `/event/wait?${query}`, { within_s: timeout_seconds + SPARE_S, signal });
    return reply.status === 200 ? reply.json() : { error: `Bridge returned status ${reply.status}` };
  }

  async call(method, path, body) {
    const reply = await this.send(method, path, { body });
    if (reply.status === 403) {
      this.tokens.clear();
      this.spoilt = true;
    }
    return reply.status === 200 ? reply.json() : told(reply);
  }

  // The Bridge lets only the asker cancel.
  async answer(elicitation_id, responding_agent, action, data) {
    const response_type = action === "cancel" ? "decline" : action;
    const body = { elicitation_id, responding_agent, response_type, ...(data && { data }) };
    const reply = await this.send("POST", "/elicitation/respond", { body, agent: responding_agent });
    return reply.status === 200 ? reply.json() : told(reply);
  }

  async pending(agent_id) {
    const reply = await this.send("GET", `/elicitation/pending?${new URLSearchParams({ agent_id })}`);
    return reply.status === 200 ? (await reply.json()).elicitations : [];
  }

  // The reply of a wait, or the questions to the agent, whichever comes first; the other is given up.
  async waitOrQuestions(agent_id, deadline, since) {
    const stop = new AbortController();
    const remaining = Math.max(1, Math.ceil((deadline - Date.now()) / 1000));
    const looking = async () => {
      while (!stop.signal.aborted) {
        const questions = await this.pending(agent_id);
        if (questions.length) return questions;
        await pause(LOOK_MS, stop.signal);
      }
    };
    try {
      return await Promise.race([this.wait(agent_id, remaining, since, stop.signal), looking()]);
    } finally {
      stop.abort();
    }
  }

  async send(method, path, { body, agent = this.agent, within_s = CALL_S, signal } = {}) {
    const headers = { Authorization: `Bearer ${await this.token(agent)}`, "Content-Type": "application/json" };
    const limit = AbortSignal.timeout(within_s * 1000);
    const stop = signal ? AbortSignal.any([limit, signal]) : limit;
    return fetch(this.base + path, { method, headers, body: body && JSON.stringify(body), signal: stop });
  }

  async token(agent_id) {
    if (this.spoilt) throw new Error("Could not establish session with Bridge");
    if (!this.tokens.has(agent_id)) {
      const body = JSON.stringify({ agent_id, ip_address: "127.0.0.1", user_agent: "mcp-server-peer" });
      const headers = { "Content-Type": "application/json" };
      const reply = await fetch(`${this.base}/session/create`, { method: "POST", headers, body });
      if (!reply.ok) throw new Error(`the Bridge opened no session: ${reply.status}`);
      this.tokens.set(agent_id, (await reply.json()).session_token);
    }
    return this.tokens.get(agent_id);
  }
}

// What a tool returns: the Bridge's JSON, or the error, as indented text.
export async function asText(work) {
  try {
    return JSON.stringify(await work, null, 2);
  } catch (error) {
    return JSON.stringify({ error: error.message || error.name }, null, 2);
  }
}

// What the MCP server peers for Node share: the command line, the tools, and serving on a free port.
//
// The same as peer_server.py, which tells what the words of the command line mean; --strict leaves clients of the
// handshake era out. A server peer gives `tool(name, description, shape, work)` to `offer`, where `work(given, call)`
// returns a text or what `call.ask` made of it. `call` has
//
//     ask(questions, state)    put questions by key; the answers by key once there are any, else a result to return
//     state, answers           what the client brought with it; only in the envelope era
//     report(done, total)      progress, if the client wants it
//     signal                   aborted when the client gives up

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { z } from "zod";
import { asText, Bridge } from "./peer_bridge.mjs";

const NAME_SCHEMA = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };

export const options = parseArgs({
  options: {
    ...Object.fromEntries(["port", "bridge", "agent"].map((name) => [name, { type: "string" }])),
    ...Object.fromEntries(
      ["stdio", "asks", "json-response", "stateless", "leash", "sse", "strict"].map((name) => [name, { type: "boolean" }]),
    ),
  },
}).values;

// Print one line: on standard output, or on standard error where that is the protocol's.
export function tell(fields) {
  (options.stdio ? process.stderr : process.stdout).write(JSON.stringify(fields) + "\n");
}

const base = (options.bridge ?? "http://127.0.0.1:8765").replace(/\/$/, "");
const bridge = new Bridge(base, options.agent ?? "mcp_server", tell);

export const result = (text) => ({ content: [{ type: "text", text }], structuredContent: { result: text } });
export const output = { result: z.string() };

const form = (message, requestedSchema) => ({ mode: "form", message, requestedSchema });

async function dawdle({ seconds, steps }, { signal, report }) {
  for (let step = 1; step <= steps; step++) {
    await new Promise((done) => {
      const timer = setTimeout(done, (seconds * 1000) / steps);
      signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
    });
    if (signal.aborted) {
      tell({ kind: "cancelled", tool: "slow" });
      throw new Error("cancelled");
    }
    await report(step, steps);
  }
  tell({ kind: "finished", tool: "slow" });
  return `took ${seconds} s`;
}

// Wait, and put each question that comes up to the client; then go on waiting. In the envelope era what must outlast a
// round is in its state.
async function waitAndAsk({ agent_id, timeout_seconds, since_sequence }, call) {
  const begun = { deadline: Date.now() + timeout_seconds * 1000, asked: [] };
  let { deadline, asked } = call.state ? JSON.parse(call.state) : begun;
  let answers = call.answers;
  for (;;) {
    for (const [id, { action, content }] of Object.entries(answers ?? {}))
      asked.push({ id, action, told: await bridge.answer(id, agent_id, action, content) });
    const found = await bridge.waitOrQuestions(agent_id, deadline, since_sequence);
    if (!Array.isArray(found)) return asText({ ...found, asked });
    const questions = Object.fromEntries(found.map(({ id, message, schema }) => [id, form(message, schema)]));
    const reply = await call.ask(questions, JSON.stringify({ deadline, asked }));
    if (reply.result) return reply;
    answers = reply.answers;
  }
}

export function offer(tool) {
  const asking = async (call, questions, read) => {
    const found = call.answers ? { answers: call.answers } : await call.ask(questions, "asked");
    return found.result ? found : read(found.answers);
  };
  tool("echo", "Say the same.", { text: z.string() }, async ({ text }) => text);
  tool("slow", "Take a while, with progress.", { seconds: z.number().default(1), steps: z.number().int().default(4) }, dawdle);
  tool("ask", "Ask for a name.", { question: z.string().default("Your name?") }, ({ question }, call) =>
    asking(call, { question: form(question, NAME_SCHEMA) }, ({ question: { action, content } }) => `${action}:${content?.name ?? ""}`),
  );
  tool("ask_with", "Ask by any schema.", { message: z.string(), schema: z.record(z.string(), z.any()) }, ({ message, schema }, call) =>
    asking(call, { question: form(message, schema) }, ({ question: { action, content = null } }) => JSON.stringify({ action, content })),
  );
  tool("ask_twice", "Ask for two things, one after the other; in the envelope era in two rounds.", {}, async (_, call) => {
    let { answers, state: first } = call;
    if (!answers) {
      const found = await call.ask({ first: form("First?", NAME_SCHEMA) }, "0");
      if (found.result) return found;
      answers = found.answers;
    }
    if (answers.first) {
      first = answers.first.action;
      const found = await call.ask({ second: form("Second?", NAME_SCHEMA) }, first);
      if (found.result) return found;
      answers = found.answers;
    }
    return `${first},${answers.second.action}`;
  });
  tool("ask_url", "Ask to open a page.", { message: z.string(), url: z.string() }, ({ message, url }, call) =>
    asking(call, { page: { mode: "url", message, url } }, ({ page }) => `${page.action}:`),
  );
  offerBridge(tool);
}

function offerBridge(tool) {
  const json = z.record(z.string(), z.any());
  const wait = { agent_id: z.string(), timeout_seconds: z.number().int().default(60), since_sequence: z.number().int().nullish() };
  tool("lighthouse_wait_for_messages", "Wait for new messages from other agents.", wait, (given, call) =>
    options.asks ? waitAndAsk(given, call) : asText(bridge.wait(given.agent_id, given.timeout_seconds, given.since_sequence, call.signal)),
  );
  const event = { event_type: z.string(), event_data: json, agent_id: z.string(), metadata: json.nullish() };
  tool("lighthouse_store_event", "Store an event.", event, ({ event_type, event_data: data, agent_id, metadata }) =>
    asText(bridge.call("POST", "/event/store", { event_type, data, agent_id, metadata: metadata ?? {} })),
  );
  tool("lighthouse_check_elicitations", "List open questions.", { agent_id: z.string().nullish() }, ({ agent_id }) =>
    asText(bridge.call("GET", `/elicitation/pending?${new URLSearchParams({ agent_id: agent_id ?? bridge.agent })}`)),
  );
  const answer = { elicitation_id: z.string(), response_type: z.string(), data: json.nullish(), metadata: json.nullish() };
  tool("lighthouse_respond_to_elicitation", "Answer a question.", answer, (given) =>
    asText(bridge.call("POST", "/elicitation/respond", { responding_agent: bridge.agent, ...given })),
  );
}

// Serve a Node handler on a free port of 127.0.0.1 and tell where.
export function listen(handle, packageName) {
  if (options.leash) process.stdin.on("end", () => process.exit(0)).resume();
  const file = new URL(`../node_modules/${packageName}/package.json`, import.meta.url);
  const { version } = JSON.parse(readFileSync(file, "utf8"));
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://127.0.0.1");
    handle(request, response, pathname).catch((error) => {
      tell({ kind: "broken", message: String(error?.stack ?? error) });
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  server.listen(Number(options.port), "127.0.0.1", () => {
    const url = `http://127.0.0.1:${server.address().port}${options.sse ? "/sse" : "/mcp"}`;
    tell({ kind: "ready", url, pid: process.pid, sdk: `${packageName} ${version}` });
  });
}

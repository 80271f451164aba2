// What the MCP client peers for Node share: the plan they are given and the lines they print.
//
// The same as peer_client.py, which tells what a plan holds and what the lines mean.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const TEXT_OF_FORMAT = { email: "zed@example.org", uri: "https://example.org/zed", date: "2026-01-31" };
const LAST_WORDS = 300;

const seconds = (begun) => Math.round((performance.now() - begun) * 10) / 10_000;
const pause = (ms, signal) =>
  new Promise((done, fail) => {
    const timer = ms === Infinity ? setInterval(() => {}, 1_000_000) : setTimeout(done, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), fail(signal.reason ?? new Error("aborted"))));
  });

function value(name, schema) {
  if (schema.default !== undefined) return schema.default;
  const options = schema.enum ?? schema.oneOf?.map((option) => option.const);
  if (options) return options[0];
  if (schema.type === "boolean") return true;
  if (schema.type === "integer" || schema.type === "number") return schema.minimum ?? 7;
  if (schema.type === "array") return [(schema.items.enum ?? schema.items.anyOf.map((option) => option.const))[0]];
  return TEXT_OF_FORMAT[schema.format] ?? `zed-${name}`;
}

const filled = (schema) =>
  Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, sub]) => [name, value(name, sub)]));

function told(error) {
  const { name, code, data } = error;
  return { error: error.constructor?.name ?? name, code: code ?? null, message: String(error.message ?? error).slice(0, LAST_WORDS), data: data ?? null };
}

export class Client {
  constructor(plan, name) {
    Object.assign(this, { plan, name, started: performance.now(), running: new Map(), waiting: [], ended: null });
    this.later = new Promise((done) => (this.noMore = done));
    this.gone = new AbortController();
  }

  get answers() {
    return this.plan.answer != null;
  }

  say(kind, fields) {
    const named = this.name === undefined ? { kind } : { kind, run: this.name };
    process.stdout.write(JSON.stringify({ ...named, ...fields }) + "\n");
  }

  connected(packageName, revision, server) {
    const file = new URL(`../node_modules/${packageName}/package.json`, import.meta.url);
    const { version } = JSON.parse(readFileSync(file, "utf8"));
    this.say("connected", { sdk: `${packageName} ${version}`, revision, server, seconds: seconds(this.started) });
  }

  async asked(params, signal) {
    const { message, requestedSchema: schema, mode = null, url = null, _meta: meta = null } = params;
    const { answer, content, answer_after_s: after_s = 0 } = this.plan;
    this.say("asked", { message, schema: schema ?? null, answer, mode, url, meta });
    await pause(answer === "never" ? Infinity : (after_s ?? 0) * 1000, signal);
    if (answer !== "accept") return { action: answer };
    return schema ? { action: answer, content: content ?? filled(schema) } : { action: answer };
  }

  heard(notification) {
    this.say("heard", { method: notification.method, params: notification.params ?? null });
  }

  // `session` has call(step, timeoutMs, signal) and tools().
  async drive(session) {
    this.session = session;
    for (const step of this.plan.calls ?? []) await this.take(step);
    if (!this.plan.interactive) return;
    for (const step of this.waiting.splice(0)) this.take(step);
    this.ready = true;
    await this.later;
    for (const running of this.running.values()) running.abort();
  }

  step(step) {
    if (step === null) this.noMore();
    else if (this.ready) this.take(step);
    else this.waiting.push(step);
  }

  async take(step) {
    const begun = performance.now();
    const { tag = null, tool = null } = step;
    try {
      if (step.do === "answer") Object.assign(this.plan, { answer: step.answer, content: step.content });
      else if (step.do === "cancel") this.running.get(step.of).abort();
      else if (step.do === "list") this.say("tools", { tag, tools: await this.session.tools(), seconds: seconds(begun) });
      else {
        const stop = new AbortController();
        this.running.set(tag, stop);
        const timeout_s = step.timeout_s ?? this.plan.timeout_s;
        const result = await this.session.call(step, timeout_s == null ? undefined : timeout_s * 1000, stop.signal);
        const text = (result.content ?? []).filter((item) => item.type === "text").map((item) => item.text);
        const outcome = { is_error: Boolean(result.isError), text, structured: result.structuredContent ?? null };
        this.say("result", { tag, tool, ...outcome, seconds: seconds(begun) });
      }
    } catch (error) {
      this.say("error", { tag, tool, ...told(error), seconds: seconds(begun) });
    }
  }
}

async function one(client, work) {
  let close = async () => {};
  try {
    const finish = work(client, (closing) => (close = closing));
    const left = new Promise((done) => client.gone.signal.addEventListener("abort", () => done("left")));
    if ((await Promise.race([finish, left])) === "left") {
      finish.catch(() => {});
      await close();
      client.say("dropped", { over: true });
      return true;
    }
    await close();
  } catch (error) {
    client.say("failed", { ...told(error), over: true });
    return false;
  }
  client.say("closed", { seconds: seconds(client.started), over: true });
  return true;
}

export async function run(work) {
  if (process.argv.length > 2) {
    const client = new Client(JSON.parse(process.argv[2]));
    if (client.plan.interactive) {
      const lines = createInterface({ input: process.stdin });
      lines.on("line", (line) => client.step(JSON.parse(line)));
      lines.on("close", () => client.step(null));
    }
    process.exit((await one(client, work)) ? 0 : 1);
  }
  const clients = new Map();
  for await (const text of createInterface({ input: process.stdin })) {
    const { run: name, ...line } = JSON.parse(text);
    if (line.plan) {
      const client = new Client(line.plan, name);
      clients.set(name, client);
      one(client, work);
    } else if (line.drop) clients.get(name).gone.abort();
    else clients.get(name).step(line.end ? null : line);
  }
  process.exit(0);
}

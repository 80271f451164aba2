// An MCP server on @modelcontextprotocol/sdk 1.x: handshake era, with sessions; peer_server.py tells how to run it.

import { randomUUID } from "node:crypto";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { listen, offer, options, output, result } from "./peer_server.mjs";

function makeServer() {
  const server = new McpServer({ name: "lighthouse-bridge", version: "1" });
  offer((name, description, inputSchema, work) => {
    server.registerTool(name, { description, inputSchema, outputSchema: output }, async (given, extra) => {
      const found = await work(given, {
        signal: extra.signal,
        async ask(questions) {
          const answers = {};
          for (const [key, question] of Object.entries(questions)) {
            const more = question.mode === "url" ? { elicitationId: "page-1" } : {};
            answers[key] = await server.server.elicitInput({ ...question, ...more }, { relatedRequestId: extra.requestId });
            if (question.mode === "url") {
              const params = { elicitationId: "page-1" };
              await extra.sendNotification({ method: "notifications/elicitation/complete", params });
            }
          }
          return { answers };
        },
        async report(progress, total) {
          const progressToken = extra._meta?.progressToken;
          if (progressToken !== undefined)
            await extra.sendNotification({ method: "notifications/progress", params: { progressToken, progress, total } });
        },
      });
      return found.result ?? result(found);
    });
  });
  return server;
}

const transports = new Map();

function refuse(response, status, message) {
  const body = JSON.stringify({ jsonrpc: "2.0", error: { code: status === 404 ? -32001 : -32000, message }, id: null });
  response.writeHead(status, { "Content-Type": "application/json" }).end(body);
}

async function serve(request, response) {
  const enableJsonResponse = Boolean(options["json-response"]);
  const sessionId = request.headers["mcp-session-id"];
  if (sessionId !== undefined && !options.stateless) {
    const known = transports.get(sessionId);
    return known ? known.handleRequest(request, response) : refuse(response, 404, "Session not found");
  }
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: options.stateless ? undefined : randomUUID,
    enableJsonResponse,
    onsessioninitialized: (id) => transports.set(id, transport),
    onsessionclosed: (id) => transports.delete(id),
  });
  await makeServer().connect(transport);
  return transport.handleRequest(request, response);
}

async function serveSse(request, response, path) {
  if (request.method === "GET" && path === "/sse") {
    const transport = new SSEServerTransport("/messages", response);
    transports.set(transport.sessionId, transport);
    return makeServer().connect(transport);
  }
  const known = transports.get(new URL(request.url, "http://127.0.0.1").searchParams.get("sessionId"));
  return known ? known.handlePostMessage(request, response) : refuse(response, 404, "Session not found");
}

if (options.stdio) await makeServer().connect(new StdioServerTransport());
else
  listen(async (request, response, path) => {
    if (options.sse) return serveSse(request, response, path);
    return path === "/mcp" ? serve(request, response) : response.writeHead(404).end();
  }, "@modelcontextprotocol/sdk");

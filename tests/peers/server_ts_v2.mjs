// An MCP server on @modelcontextprotocol/server 2.x, as its own handler serves it: the envelope era in full, and the
// handshake era without sessions, so that it can ask no client of that era over HTTP; peer_server.py tells how to run it.

import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, inputRequired, McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";
import { listen, offer, options, output, result } from "./peer_server.mjs";

const asked = ({ mode, ...question }) => (mode === "url" ? inputRequired.elicitUrl(question) : inputRequired.elicit(question));

function makeServer() {
  const server = new McpServer({ name: "lighthouse-bridge", version: "2" });
  offer((name, description, shape, work) => {
    const how = { description, inputSchema: z.object(shape), outputSchema: z.object(output) };
    server.registerTool(name, how, async (given, { mcpReq }) => {
      const found = await work(given, {
        answers: mcpReq.inputResponses,
        state: mcpReq.requestState(),
        signal: mcpReq.signal,
        async ask(questions, requestState) {
          const inputRequests = Object.fromEntries(Object.entries(questions).map(([key, one]) => [key, asked(one)]));
          return { result: inputRequired({ inputRequests, requestState }) };
        },
        async report(progress, total) {
          const progressToken = mcpReq._meta?.progressToken;
          if (progressToken !== undefined)
            await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total } });
        },
      });
      return found.result ?? result(found);
    });
  });
  return server;
}

const legacy = options.strict ? "reject" : undefined;
if (options.stdio) serveStdio(makeServer, { legacy });
else {
  const responseMode = options["json-response"] ? "json" : "auto";
  const handle = toNodeHandler(createMcpHandler(makeServer, { legacy, responseMode }));
  listen(async (request, response, path) => {
    if (path === "/mcp") await handle(request, response);
    else response.writeHead(404).end();
  }, "@modelcontextprotocol/server");
}

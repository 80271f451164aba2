// An MCP client on @modelcontextprotocol/sdk 1.x: handshake era; peer_client.py tells how to run it.

import { Client as SdkClient } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { run } from "./peer_client.mjs";

await run(async (client, onClose) => {
  const { plan } = client;
  const capabilities = client.answers ? { elicitation: { form: {}, url: {} } } : {};
  const sdk = new SdkClient({ name: "client-ts-v1", version: "1" }, { capabilities });
  if (client.answers)
    sdk.setRequestHandler(ElicitRequestSchema, (request, extra) => client.asked(request.params, extra.signal));
  sdk.fallbackNotificationHandler = async (notification) => client.heard(notification);
  const HttpTransport = plan.sse ? SSEClientTransport : StreamableHTTPClientTransport;
  const transport = plan.stdio
    ? new StdioClientTransport({ command: plan.stdio[0], args: plan.stdio.slice(1), stderr: "inherit" })
    : new HttpTransport(new URL(plan.url), { requestInit: { headers: plan.headers ?? {} } });
  let revision = null;
  const tell = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (chosen) => ((revision = chosen), tell?.(chosen));
  onClose(() => sdk.close());
  await sdk.connect(transport);
  client.connected("@modelcontextprotocol/sdk", revision, sdk.getServerVersion() ?? null);
  await client.drive({
    tools: async () => (await sdk.listTools()).tools,
    call: ({ tool, arguments: given = {}, progress }, timeout, signal) => {
      const onprogress = (params) => client.heard({ method: "notifications/progress", params });
      const options = { signal, ...(timeout && { timeout }), ...(progress && { onprogress }) };
      return sdk.callTool({ name: tool, arguments: given }, undefined, options);
    },
  });
  // A client that is done says so, as the other SDKs do; one that leaves in the middle does not.
  if (transport.terminateSession) await transport.terminateSession();
});

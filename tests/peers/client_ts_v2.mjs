// An MCP client on @modelcontextprotocol/client 2.x: both eras; peer_client.py tells how to run it.

import { Client as SdkClient, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { run } from "./peer_client.mjs";

await run(async (client, onClose) => {
  const { plan } = client;
  const mode = { auto: "auto", legacy: "legacy" }[plan.mode || "auto"] ?? { pin: plan.mode };
  const capabilities = client.answers ? { elicitation: { form: {}, url: {} } } : {};
  const sdk = new SdkClient({ name: "client-ts-v2", version: "1" }, { capabilities, versionNegotiation: { mode } });
  if (client.answers)
    sdk.setRequestHandler("elicitation/create", (request, context) =>
      client.asked(request.params, context?.mcpReq?.signal ?? context?.signal),
    );
  sdk.fallbackNotificationHandler = async (notification) => client.heard(notification);
  const transport = plan.stdio
    ? new StdioClientTransport({ command: plan.stdio[0], args: plan.stdio.slice(1), stderr: "inherit" })
    : new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers ?? {} } });
  onClose(() => sdk.close());
  await sdk.connect(transport);
  client.connected("@modelcontextprotocol/client", sdk.getNegotiatedProtocolVersion(), sdk.getServerVersion() ?? null);
  await client.drive({
    tools: async () => (await sdk.listTools()).tools,
    call: ({ tool, arguments: given = {}, progress }, timeout, signal) => {
      const onprogress = (params) => client.heard({ method: "notifications/progress", params });
      return sdk.callTool(
        { name: tool, arguments: given },
        { signal, ...(timeout && { timeout }), ...(progress && { onprogress }) },
      );
    },
  });
  if (transport.terminateSession && transport.sessionId) await transport.terminateSession();
});

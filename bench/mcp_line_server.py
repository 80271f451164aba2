"""The MCP server that the soak launches behind `elicit-sidecar stdio`: one line in, one line out, nothing imported.

It answers what a client asks before and beside its waits, of either era; the wait itself is the sidecar's to serve.
"""

import json
import sys

SAID = {"serverInfo": {"name": "bench", "version": "1"}, "capabilities": {"tools": {}}, "resultType": "complete"}
RESULTS = {
    "initialize": {**SAID, "protocolVersion": "2025-11-25"},
    "server/discover": {**SAID, "supportedVersions": ["2026-07-28"]},
    "tools/list": {"tools": [], "resultType": "complete"},
    "tools/call": {"content": [{"type": "text", "text": "this is the server, not the sidecar"}], "isError": True},
    "ping": {"resultType": "complete"},
}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        said = json.loads(line)
        result = RESULTS.get(said.get("method"))
        if "id" in said and result is not None:
            print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)


if __name__ == "__main__":
    main()

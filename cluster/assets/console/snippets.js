/** The same question from a shell and from Python. */

import { BASE } from "./api.js";

/** @typedef {import("./conversation.js").Comparison} Comparison */

/** @param {Comparison} comparison */
export function rankBody({ messages, responses }) {
  return { prompt: messages, responses };
}

/** @param {Comparison} comparison */
export function asCurl(comparison) {
  const body = JSON.stringify(rankBody(comparison), null, 1).replaceAll("'", "'\\''");
  return [
    `curl ${location.origin}${BASE}v1/rank \\`,
    "  -H 'Content-Type: application/json' \\",
    '  -H "Authorization: Bearer $REWARD_API_KEY" \\',
    `  -d '${body}'`,
  ].join("\n");
}

/** Strings and lists are the same in JSON and in Python. @param {Comparison} comparison */
export function asPython(comparison) {
  return [
    "import os",
    "",
    "import httpx",
    "",
    `body = ${JSON.stringify(rankBody(comparison), null, 4)}`,
    'key = os.environ.get("REWARD_API_KEY", "")',
    "answer = httpx.post(",
    `    "${location.origin}${BASE}v1/rank", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60`,
    ")",
    "answer.raise_for_status()",
    'for place in answer.json()["ranking"]:',
    '    print(place["response"], place.get("reward"), place.get("error"))',
  ].join("\n");
}

/** Pasted conversations: messages as JSON, ShareGPT, rows of data sets, or plain text. */

/** @typedef {{role: string, content: string}} Message */
/** @typedef {{messages: Message[], responses: string[]}} Comparison messages: the prompt */

const ROLES = new Map([
  ["human", "user"], ["user", "user"], ["prompter", "user"],
  ["gpt", "assistant"], ["assistant", "assistant"], ["model", "assistant"], ["bot", "assistant"],
  ["system", "system"],
]);
const TURN = /^(system|human|user|assistant|gpt|model|bot):[ \t]*/gim;

/** Throws Error where the text is JSON of no known form. @param {string} text @returns {Comparison} */
export function parseConversation(text) {
  const trimmed = text.trim();
  if (!/^[[{]/.test(trimmed)) return split(plainTurns(trimmed));
  let value;
  try {
    value = JSON.parse(trimmed);
  } catch (error) {
    throw new Error(`This is no valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  return comparisonOf(value);
}

/** A row of a file, or a whole conversation. @param {any} value @returns {Comparison} */
export function comparisonOf(value) {
  if (Array.isArray(value)) return split(messagesOf(value));
  if (value?.messages) return split(messagesOf(value.messages));
  if (value?.conversations) return split(messagesOf(value.conversations));
  if (value?.prompt !== undefined && (value.responses || value.response !== undefined)) {
    const responses = value.responses ?? [value.response];
    return { messages: turnsOf(value.prompt), responses: responses.map(textOf) };
  }
  if (value?.chosen !== undefined && value?.rejected !== undefined) return pair(value);
  throw new Error(
    "Known forms: [{role, content}], {messages}, {conversations}, {prompt, responses}, " +
      "{prompt, response}, {prompt, chosen, rejected}.",
  );
}

/** @param {any} value @returns {Comparison} */
function pair({ prompt, chosen, rejected }) {
  if (prompt !== undefined && typeof chosen === "string") {
    return { messages: turnsOf(prompt), responses: [chosen, textOf(rejected)] };
  }
  const [better, worse] = [split(turnsOf(chosen)), split(turnsOf(rejected))];
  return { messages: better.messages, responses: [...better.responses, ...worse.responses] };
}

/** The last answer is what is judged. @param {Message[]} turns @returns {Comparison} */
function split(turns) {
  const last = turns.at(-1);
  if (last?.role !== "assistant") return { messages: turns, responses: [] };
  return { messages: turns.slice(0, -1), responses: [last.content] };
}

/** @param {any} prompt @returns {Message[]} */
function turnsOf(prompt) {
  return Array.isArray(prompt) ? messagesOf(prompt) : plainTurns(String(prompt));
}

/** @param {any[]} turns @returns {Message[]} */
function messagesOf(turns) {
  return turns.map((turn) => {
    const role = turn?.role ?? turn?.from;
    const content = turn?.content ?? turn?.value;
    if (typeof role !== "string" || content === undefined) {
      throw new Error("A turn must be {role, content} or {from, value}.");
    }
    return { role: ROLES.get(role.toLowerCase()) ?? role, content: textOf(content) };
  });
}

/** @param {string} text @returns {Message[]} */
function plainTurns(text) {
  const starts = [...text.matchAll(TURN)];
  if (!starts.length || starts[0].index !== 0) return [{ role: "user", content: text }];
  return starts.map((start, i) => ({
    role: ROLES.get(start[1].toLowerCase()) ?? "user",
    content: text.slice(start.index + start[0].length, starts[i + 1]?.index).trim(),
  }));
}

/** @param {any} value */
function textOf(value) {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map((part) => part?.content ?? part?.text ?? "").join("");
  return String(value?.content ?? JSON.stringify(value));
}

/** For the fragment of an address, which no server sees. @param {Comparison} comparison */
export function packed(comparison) {
  const bytes = new TextEncoder().encode(JSON.stringify(comparison));
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Throws Error for what `packed` did not make. @param {string} text @returns {Comparison} */
export function unpacked(text) {
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const value = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0))));
  return { messages: messagesOf(value.messages), responses: value.responses.map(textOf) };
}

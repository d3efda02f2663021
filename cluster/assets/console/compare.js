/** Compare page: a conversation, responses, and the model's order of them. */

import { ask, ServiceError } from "./api.js";
import { packed, parseConversation, unpacked } from "./conversation.js";
import { el } from "./dom.js";
import { showRanking } from "./ranking.js";
import { asCurl, asPython, rankBody } from "./snippets.js";

/** @typedef {import("./conversation.js").Comparison} Comparison */

/** @type {Comparison} */
const EXAMPLE = {
  messages: [{ role: "user", content: "What is 7 + 5?" }],
  responses: ["7 + 5 = 12", "7 + 5 = 13", "Bananas are yellow."],
};

/**
 * @param {HTMLElement} page
 * @param {(link: string) => void} changed is told what restores the comparison
 */
export function comparePage(page, changed) {
  /** @type {Comparison} */
  let comparison = structuredClone(EXAMPLE);
  const turns = el("div", { class: "stack" });
  const responses = el("ol", { class: "stack responses" });
  const message = el("p", { class: "message", role: "alert" });
  const results = el("div", { class: "results", "aria-live": "polite" });
  const button = el("button", { class: "primary", type: "submit" }, "Rank");

  const form = el("form", { class: "editor", onsubmit: submit, onkeydown: submitByKeys },
    el("h2", {}, "Conversation"), turns,
    el("div", { class: "row" },
      el("button", { type: "button", onclick: addTurn }, "Add a turn"),
      el("button", { type: "button", onclick: openPaste }, "Paste …")),
    el("h2", {}, "Responses"), responses,
    el("div", { class: "row" },
      el("button", { type: "button", onclick: addResponse }, "Add a response")),
    el("div", { class: "row actions" }, button,
      el("span", { class: "hint" }, "Ctrl + Enter"),
      el("button", { type: "button", onclick: copying(link) }, "Copy link"),
      el("button", { type: "button", onclick: copying(() => asCurl(comparison)) }, "Copy as curl"),
      el("button", { type: "button", onclick: copying(() => asPython(comparison)) }, "Copy as Python")),
    message);
  const pasted = el("textarea", { id: "pasted", rows: 10, "aria-label": "Conversation to paste",
    placeholder: "Messages as JSON, ShareGPT, a row of a data set, or plain text with User: and Assistant:" });
  const dialog = el("dialog", { "aria-label": "Paste a conversation" },
    el("form", { method: "dialog", onsubmit: takePaste },
      el("h2", {}, "Paste a conversation"), pasted, el("p", { class: "message", role: "alert" }),
      el("div", { class: "row" },
        el("button", { class: "primary" }, "Take it"),
        el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
  page.append(el("div", { class: "columns" }, form, results), dialog);
  draw();

  function draw() {
    turns.replaceChildren(...comparison.messages.map(turnEditor));
    responses.replaceChildren(...comparison.responses.map(responseEditor));
  }

  /** @param {import("./conversation.js").Message} turn @param {number} at */
  function turnEditor(turn, at) {
    const roles = [...new Set(["system", "user", "assistant", turn.role])];
    return el("div", { class: "turn" },
      el("select", { "aria-label": `Role of turn ${at + 1}`, onchange: (/** @type {any} */ e) => edit(() => { turn.role = e.target.value; }) },
        ...roles.map((role) => el("option", { selected: role === turn.role }, role))),
      area(`Turn ${at + 1}`, turn.content, (text) => { turn.content = text; }),
      remover(`turn ${at + 1}`, () => comparison.messages.splice(at, 1)));
  }

  /** @param {string} text @param {number} at */
  function responseEditor(text, at) {
    return el("li", { class: "turn" },
      area(`Response ${at + 1}`, text, (now) => { comparison.responses[at] = now; }),
      remover(`response ${at + 1}`, () => comparison.responses.splice(at, 1)));
  }

  /** @param {string} label @param {string} text @param {(text: string) => void} take */
  function area(label, text, take) {
    const made = el("textarea", { "aria-label": label, rows: Math.min(8, text.split("\n").length + 1), value: text });
    made.oninput = () => edit(() => take(made.value));
    return made;
  }

  /** @param {string} what @param {() => void} remove */
  function remover(what, remove) {
    return el("button", { type: "button", class: "remove", "aria-label": `Remove ${what}`, title: `Remove ${what}`,
      onclick: () => { edit(remove); draw(); } }, "×");
  }

  /** @param {() => void} change */
  function edit(change) {
    change();
    results.classList.add("stale");
  }

  function addTurn() {
    const role = comparison.messages.at(-1)?.role === "user" ? "assistant" : "user";
    edit(() => comparison.messages.push({ role, content: "" }));
    draw();
    turns.lastElementChild.querySelector("textarea").focus();
  }

  function addResponse() {
    edit(() => comparison.responses.push(""));
    draw();
    responses.lastElementChild.querySelector("textarea").focus();
  }

  function openPaste() {
    pasted.value = "";
    dialog.querySelector(".message").textContent = "";
    dialog.showModal();
    pasted.focus();
  }

  /** @param {Event} event */
  function takePaste(event) {
    event.preventDefault();
    try {
      const found = parseConversation(pasted.value);
      show({ ...found, responses: found.responses.length ? found.responses : comparison.responses });
      dialog.close();
    } catch (error) {
      dialog.querySelector(".message").textContent = String(error instanceof Error ? error.message : error);
    }
  }

  /** @param {KeyboardEvent} event */
  function submitByKeys(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  }

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    message.textContent = "";
    button.disabled = true;
    const asked = structuredClone(comparison);
    const started = performance.now();
    try {
      const answer = await ask("v1/rank", rankBody(asked));
      const seconds = (performance.now() - started) / 1000;
      showRanking(results, asked, answer, seconds);
      changed(packed(asked));
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      const items = error.body?.results;
      if (items) showRanking(results, asked, { ranking: items }, NaN);
      else results.replaceChildren();
      message.textContent = error.message;
    } finally {
      button.disabled = false;
      results.classList.remove("stale");
    }
  }

  function link() {
    changed(packed(comparison));
    return location.href;
  }

  /** @param {() => string} text */
  function copying(text) {
    return async (/** @type {any} */ { target }) => {
      const label = target.textContent;
      await copy(text());
      target.textContent = "Copied";
      setTimeout(() => { target.textContent = label; }, 1200);
    };
  }

  /** @param {Comparison} now */
  function show(now) {
    comparison = structuredClone(now);
    if (!comparison.responses.length) comparison.responses.push("");
    results.replaceChildren();
    message.textContent = "";
    draw();
  }

  /** @param {string} body of a link */
  function restore(body) {
    if (body === packed(comparison)) return;
    try {
      show(unpacked(body));
    } catch {
      message.textContent = "This link holds no comparison.";
    }
  }

  return { show, restore };
}

/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const held = el("textarea", { value: text, class: "offscreen" }); // no clipboard over plain http
  document.body.append(held);
  held.select();
  document.execCommand("copy");
  held.remove();
}

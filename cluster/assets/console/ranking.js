/** A ranking: rewards as bars, what each is ahead by, and what the model read. */

import { ask } from "./api.js";
import { duration, el, number } from "./dom.js";
import { rankBody } from "./snippets.js";

/** @typedef {import("./conversation.js").Comparison} Comparison */

/**
 * @param {HTMLElement} place
 * @param {Comparison} asked
 * @param {any} answer of /v1/rank
 * @param {number} seconds from the click to the answer
 */
export function showRanking(place, asked, answer, seconds) {
  const scored = answer.ranking.filter((/** @type {any} */ each) => !each.error);
  const rewards = scored.map((/** @type {any} */ each) => each.reward);
  const [low, high] = [Math.min(...rewards), Math.max(...rewards)];
  const cards = answer.ranking.map((/** @type {any} */ each, /** @type {number} */ at) =>
    each.error
      ? failedCard(asked, each)
      : card(asked, each, at, rewards[at + 1], (each.reward - low) / (high - low || 1)));
  place.replaceChildren(
    el("h2", {}, "Ranking"),
    scored.length && facts(answer, scored, seconds),
    el("ol", { class: "ranking" }, ...cards));
}

/** @param {any} answer @param {any[]} scored @param {number} seconds */
function facts(answer, scored, seconds) {
  const longest = (/** @type {string} */ name) => duration(Math.max(...scored.map((s) => s[name])));
  const [first, second] = scored;
  const parts = [
    `${answer.model ?? first.model} at ${answer.revision ?? "several revisions"}`,
    first.numerics,
    `answered in ${duration(seconds)}: ${longest("queue_s")} in the queue, ${longest("forward_s")} in the forward`,
  ];
  return el("div", {},
    second && el("p", { class: "verdict" },
      `P(1 beats 2) = ${number(probability(first.reward - second.reward), 3)}`,
      el("span", { class: "hint" }, " sigmoid of the margin, as Bradley and Terry have it")),
    el("p", { class: "hint facts" }, parts.join(" · ")));
}

/** @param {number} margin */
function probability(margin) {
  return 1 / (1 + Math.exp(-margin));
}

/**
 * @param {Comparison} asked
 * @param {any} each
 * @param {number} at rank, from 0
 * @param {number|undefined} next reward
 * @param {number} share of the bar
 */
function card(asked, each, at, next, share) {
  const tokens = el("div", { class: "tokens" });
  return el("li", { class: at === 0 ? "card best" : "card" },
    el("div", { class: "head" },
      el("span", { class: "rank" }, String(at + 1)),
      el("span", { class: "reward" }, number(each.reward, 4)),
      el("span", { class: "bar" }, el("span", { style: { width: `${4 + 96 * share}%` } })),
      el("span", { class: "margin" }, next === undefined ? "" : `+${number(each.reward - next, 4)}`)),
    el("p", { class: "text" }, asked.responses[each.response]),
    el("p", { class: "hint" }, `response ${each.response + 1} · ${number(each.n_tokens)} tokens `,
      ...warnings(each)),
    el("details", { ontoggle: (/** @type {any} */ event) => event.target.open && showTokens(tokens, asked, each.response) },
      el("summary", {}, "What the model reads"), tokens));
}

/** @param {any} each */
function warnings(each) {
  const found = [];
  if (each.truncated) found.push("the start was cut");
  if (each.n_bos > 1) found.push(`${each.n_bos} BOS tokens`);
  if (each.n_bos === 0) found.push("no BOS token");
  return found.map((text) => el("span", { class: "warning" }, text));
}

/** @param {Comparison} asked @param {any} each */
function failedCard(asked, each) {
  return el("li", { class: "card failed" },
    el("div", { class: "head" },
      el("span", { class: "rank" }, "–"), el("span", { class: "reward" }, each.error.code)),
    el("p", { class: "text" }, asked.responses[each.response] ?? ""),
    el("p", { class: "message" }, each.error.message));
}

/** @param {HTMLElement} place @param {Comparison} asked @param {number} response */
async function showTokens(place, asked, response) {
  if (place.childElementCount) return;
  try {
    const { prompt, responses } = rankBody(asked);
    const conversations = [{ prompt, response: responses[response] }];
    const [found] = (await ask("v1/tokenize", { conversations })).results;
    const withIds = el("input", { type: "checkbox" });
    const shown = el("p", { class: "ids-hidden token-list", tabindex: 0, "aria-label": "Tokens" },
      ...found.tokens.map((/** @type {string} */ text, /** @type {number} */ i) =>
        token(text, found.ids[i], i < found.prompt_len)));
    withIds.onchange = () => shown.classList.toggle("ids-hidden", !withIds.checked);
    place.append(
      el("p", { class: "hint" }, `${found.ids.length} tokens, ${found.prompt_len} of them before the response, ${found.n_bos} BOS `,
        el("label", {}, withIds, " ids")),
      shown);
  } catch (error) {
    place.replaceChildren(el("p", { class: "message" }, error instanceof Error ? error.message : String(error)));
  }
}

/** @param {string} text @param {number} id @param {boolean} inPrompt */
function token(text, id, inPrompt) {
  const special = /^<.+>$|^\[[A-Z]+\]$/.test(text);
  const shown = text.replaceAll("\n", "⏎\n");
  return el("span", { class: `token${special ? " special" : ""}${inPrompt ? "" : " own"}`, title: `id ${id}` },
    shown, el("sub", {}, String(id)));
}

/** The pages, the model's name and the key. */

import { ask, useKey } from "./api.js";
import { comparePage } from "./compare.js";
import { byId } from "./dom.js";
import { explorePage } from "./explore.js";
import { livePage } from "./live.js";

const NAMES = ["compare", "explore", "live"];
const MODEL_EVERY_MS = 10_000;

const compare = comparePage(byId("compare"), (body) => {
  history.replaceState(null, "", body ? `#compare=${body}` : "#compare");
});
const live = livePage(byId("live"));
explorePage(byId("explore"), (comparison) => {
  compare.show(comparison);
  open("compare");
});

/** @param {string} name @param {boolean} [focus] */
function open(name, focus = false) {
  for (const each of NAMES) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    byId(each).hidden = each !== name;
    if (each === name && focus) tab.focus();
  }
  live.watch(name === "live");
}

/** The page that the address names. */
function follow() {
  const [name, body] = location.hash.slice(1).split("=", 2);
  if (name === "compare" && body) compare.restore(body);
  open(NAMES.includes(name) ? name : "compare");
}

async function showModel() {
  const place = byId("model");
  try {
    const info = await ask("v1/model");
    place.textContent = `${info.model} at ${info.revision} · ${info.numerics} · ${info.device}`;
    place.title = `${info.architecture}, ${info.dtype}, up to ${info.max_tokens} tokens`;
    place.classList.remove("failed");
  } catch (error) {
    place.textContent = error instanceof Error ? error.message : String(error);
    place.classList.add("failed");
  }
}

for (const [at, name] of NAMES.entries()) {
  const tab = byId(`tab-${name}`);
  tab.onclick = () => {
    history.replaceState(null, "", `#${name}`);
    open(name);
  };
  tab.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) open(NAMES[(at + step + NAMES.length) % NAMES.length], true);
  };
}
byId("key-form").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
byId("key").oninput = () => {
  useKey(byId("key").value.trim());
  void showModel();
};
addEventListener("hashchange", follow);
follow();
void showModel();
setInterval(showModel, MODEL_EVERY_MS);

/** Requests to the service that this page came from. */

/** Where the service is, with a slash at the end. */
export const BASE = location.pathname.replace(/\/?$/, "/");

let key = "";

/** Kept in memory only. @param {string} given */
export function useKey(given) {
  key = given;
}

export class ServiceError extends Error {
  /** @param {string} message @param {string} code @param {any} [body] what was answered */
  constructor(message, code, body) {
    super(message);
    this.code = code;
    this.body = body;
  }
}

/**
 * The JSON that the service answers. Throws ServiceError for anything but a success.
 * @param {string} path
 * @param {any} [body] makes it a POST
 * @returns {Promise<any>}
 */
export async function ask(path, body) {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const method = body ? "POST" : "GET";
  let answer;
  let value;
  try {
    answer = await fetch(BASE + path, { method, headers, body: body && JSON.stringify(body) });
    value = await answer.json();
  } catch {
    throw new ServiceError("The service does not answer; is it running?", "unreachable");
  }
  if (answer.ok) return value;
  const { message = answer.statusText, code = String(answer.status) } = value?.error ?? {};
  throw new ServiceError(message, code, value);
}

// Requests to the server. URLs are relative to this file's, so that the page works below any path.

const root = new URL('../', import.meta.url);
export const url = (path) => new URL(path, root).href;
export const imageURL = (id) => url(`download/${id}`);
export const thumbnailURL = (id, size) => url(`download/${id}/thumbnail?size=${size}`);

// Problem is a request that did not do what it was meant to. status is 0 where no answer came; fields are {name,
// loc, message} of what can't be used, where loc is the way to it: controls[0].image is ["controls", 0, "image"].
export class Problem extends Error {
  constructor(message, { status = 0, fields = [], retry = 0 } = {}) {
    super(message);
    Object.assign(this, { status, fields, retry });
  }
}

// connection tells by the event "change" whether the server answers.
export const connection = Object.assign(new EventTarget(), { up: true });

function connected(up) {
  if (connection.up === up) return;
  connection.up = up;
  connection.dispatchEvent(new Event('change'));
}

// reconnected ends when the server answers again.
const reconnected = () => new Promise((resolve) => {
  if (connection.up) return resolve();
  connection.addEventListener('change', resolve, { once: true });
});

let signIn = async () => false;

// onSignIn sets what is done when the server wants to know who asks. It says whether it is worth to ask again.
export function onSignIn(ask) {
  signIn = ask;
}

// parseJSON reads JSON. Whole numbers that a float64 does not hold, as seeds may be, become strings of digits, which the
// server takes for numbers.
export function parseJSON(text) {
  return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (token) => (token[0] === '"' || Number.isSafeInteger(Number(token)) ? token : `"${token}"`)));
}

// request asks the server and gives the answer's JSON, or null where it has none; a Blob where blob asks for that.
export async function request(method, path, { json, body, type, headers = {}, blob = false, again = true } = {}) {
  const init = { method, headers: { ...headers } };
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers['Content-Type'] = 'application/json';
  } else if (body !== undefined) {
    init.body = body;
    init.headers['Content-Type'] = type;
  }
  let response;
  let text;
  try {
    response = await fetch(url(path), init);
    if (blob && response.ok) {
      const data = await response.blob();
      connected(true);
      return data;
    }
    text = await response.text();
  } catch {
    connected(false);
    throw new Problem('The server does not answer');
  }
  const stopping = response.status === 503 && text.includes('The server is stopping');
  const gone = stopping || response.status === 502 || response.status === 504;
  connected(!gone);
  if (response.ok) return text === '' ? null : parseJSON(text);
  if (response.status === 401 && again && (await signIn())) return request(method, path, { json, body, type, headers, blob, again: false });
  throw problem(response, text, gone);
}

// problem reads an error, as FastAPI writes them.
function problem(response, text, gone) {
  let detail;
  try {
    detail = JSON.parse(text).detail;
  } catch {
    detail = undefined; // of a proxy
  }
  const about = { status: gone ? 0 : response.status, retry: Number(response.headers.get('Retry-After')) || 0 };
  if (!Array.isArray(detail)) return new Problem(typeof detail === 'string' ? detail : `The server answers ${response.status} ${response.statusText}`, about);
  about.fields = detail.map((d) => {
    const loc = d.loc.length > 1 ? d.loc.slice(1) : d.loc;
    const name = loc.map((part, i) => (typeof part === 'number' ? `[${part}]` : i > 0 ? `.${part}` : part)).join('');
    return { name, loc, message: String(d.msg).replace(/^Value error, /, '') };
  });
  return new Problem(about.fields.map((f) => `${f.name}: ${f.message}`).join('. '), about);
}

// submit makes a job. When the connection is lost it waits and asks again, with the key by which the server knows that
// it is the same request.
export async function submit(json, onWait = () => {}) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  for (;;) {
    try {
      return await request('POST', 'v1/jobs', { json, headers: { 'Idempotency-Key': key } });
    } catch (err) {
      if (err.status !== 0) throw err;
      onWait();
      await reconnected();
    }
  }
}

export const listJobs = (query) => request('GET', `v1/jobs?${new URLSearchParams(query)}`);
export const getJob = (id) => request('GET', `v1/jobs/${id}`);
export const interruptJob = (id) => request('POST', `v1/jobs/${id}/interrupt`);
export const cancelJob = (id) => request('DELETE', `v1/jobs/${id}`);
export const purgeJob = (id) => request('DELETE', `v1/jobs/${id}?purge=true`);
export const getOptions = () => request('GET', 'v1/options');
// preprocess gives the control image that a preprocessor makes: {image, preprocessor, width, height}.
export const preprocess = (json) => request('POST', 'v1/preprocess', { json, blob: true });
export const uploadImage = (blob) => request('POST', 'v1/images', { body: blob, type: blob.type });

// watch opens the events of a job.
export const watch = (id) => new EventSource(url(`v1/jobs/${id}/events`));

// The jobs that have not ended. The first is watched by its events, all are asked for now and then: a browser has six
// connections to a server for all of its tabs together, so that not every job of every tab can have one.
import { cancelJob, connection, getJob, interruptJob, listJobs, parseJSON, submit, watch } from './api.js';
import { onTold, tell } from './tabs.js';

const often = 1500; // milliseconds between two questions while there are jobs
const seldom = 10000; // else, since other programs make jobs too, and while nobody looks

const open = new Map(); // jobs by id, with previews, data URLs by image
let stream = null; // the events of one job
let watched = ''; // its id

// jobs sends "change" when a job has changed, "ended" with the whole job in detail, and "idle" now and then while there
// are none.
export const jobs = new EventTarget();

// openJobs are those that are computed, then those that wait, in order.
export function openJobs() {
  const rank = (job) => (job.state === 'running' ? 0 : job.position || 1e9);
  return [...open.values()].sort((a, b) => rank(a) - rank(b) || a.seq - b.seq);
}

const changed = () => jobs.dispatchEvent(new Event('change'));
const ended = (state) => state === 'done' || state === 'failed' || state === 'cancelled';

// create submits a request.
export async function create(request, onWait) {
  const job = await submit(request, onWait);
  tell({ jobs: true });
  open.set(job.id, { ...job, previews: [] }); // which may have ended already
  take(job);
  return job;
}

// cancel ends a job.
export async function cancel(id) {
  take(await cancelJob(id));
  tell({ jobs: true });
}

// interrupt ends a job after the step that is under way, with the image so far.
export async function interrupt(id) {
  take(await interruptJob(id));
  tell({ jobs: true });
}

// take notes what the server says of a job.
function take(job) {
  if (ended(job.state)) {
    finish(job);
    return;
  }
  const known = open.get(job.id);
  if (known && job.state === 'running' && known.step > (job.step ?? 0) && known.attempts === job.attempts) job.step = known.step; // an older answer
  open.set(job.id, { ...job, previews: (job.state === 'running' && known?.previews) || [] });
  observe();
  changed();
}

function finish(job) {
  if (!open.delete(job.id)) return;
  unwatch(job.id);
  tell({ jobs: true });
  jobs.dispatchEvent(new CustomEvent('ended', { detail: job }));
  observe();
  changed();
}

// observe watches the first job, while somebody looks at the page.
function observe() {
  const first = document.hidden ? '' : (openJobs()[0]?.id ?? '');
  if (first === watched) return;
  unwatch(watched);
  if (first !== '') listen(first);
}

function unwatch(id) {
  if (id !== watched) return;
  stream?.close();
  stream = null;
  watched = '';
}

function listen(id) {
  const events = watch(id);
  stream = events;
  watched = id;
  const on = (name, change) => events.addEventListener(name, (event) => {
    const job = open.get(id);
    if (!job) return;
    change(job, parseJSON(event.data));
    changed();
  });
  on('state', (job, { state, position }) => {
    Object.assign(job, { state, position });
    if (state !== 'running') Object.assign(job, { step: 0, seconds_left: 0, previews: [] });
    observe();
  });
  on('loading', (job, { percent }) => Object.assign(job, { loading: percent }));
  on('step', (job, { step, steps, seconds_left }) => Object.assign(job, { state: 'running', position: 0, step, steps, seconds_left }));
  on('stopping', (job) => Object.assign(job, { stopping: true }));
  on('preview', (job, { image, type, data }) => {
    job.previews[image] = `data:${type};base64,${data}`;
  });
  for (const name of ['done', 'failed', 'cancelled']) on(name, (job, whole) => finish(whole));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED && stream === events) unwatch(id); // refresh watches again
    soon();
  };
}

// refresh asks for the jobs that have not ended, and for the end of those that are no longer among them.
async function refresh() {
  const { jobs: list } = await listJobs({ state: 'queued,running,interrupted', limit: 200 });
  const present = new Set(list.map((job) => job.id));
  list.forEach(take);
  for (const id of [...open.keys()]) {
    if (present.has(id)) continue;
    try {
      take(await getJob(id));
    } catch (err) {
      if (err.status === 0) throw err;
      open.delete(id); // removed, or expired
      unwatch(id);
      changed();
    }
  }
}

let timer;
let asking = false;
let again = false;

// soon asks at once, or again where an answer is still under way.
export function soon() {
  clearTimeout(timer);
  if (asking) again = true;
  else ask();
}

async function ask() {
  asking = true;
  again = false;
  try {
    await refresh();
    if (open.size === 0) jobs.dispatchEvent(new Event('idle'));
  } catch {
    // It is asked again; the connection's state says so to the reader.
  } finally {
    asking = false;
  }
  clearTimeout(timer);
  if (document.hidden && open.size === 0 && connection.up) return; // until somebody looks
  const busy = !document.hidden && (!connection.up || open.size > 0);
  timer = setTimeout(ask, again ? 200 : busy ? often : seldom);
}

document.addEventListener('visibilitychange', () => {
  observe();
  if (!document.hidden) soon();
});
addEventListener('focus', soon);
onTold((message) => message.jobs && soon());

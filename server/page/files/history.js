// The jobs that have ended, the newest first, page by page as the reader scrolls.
import { $, h } from './dom.js';
import { connection, listJobs, purgeJob, thumbnailURL } from './api.js';
import { moment, promptOf, status } from './format.js';
import { notify } from './notify.js';
import { onTold, tell } from './tabs.js';

const page = 50;

let entries = []; // {job, tiles}, the newest first
let next = null; // cursor of the page that was not loaded yet
let loading = null; // a promise while a page is under way
let opened = () => {};
let changed = () => {};

const end = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && next && load(next), { rootMargin: '800px' });

// start shows the first page. open is called with a job and the index of its image that was chosen; onChange when the
// list has changed.
export function start(open, onChange) {
  opened = open;
  changed = onChange;
  $('show').onchange = () => {
    entries = [];
    $('tiles').replaceChildren();
    load();
  };
  connection.addEventListener('change', () => connection.up && refresh());
  document.addEventListener('visibilitychange', () => !document.hidden && refresh());
  addEventListener('focus', refresh);
  onTold((message) => {
    if (message.removed) drop(message.removed);
    else if (message.jobs) refresh();
  });
  return load();
}

const states = () => ($('show').value === 'all' ? 'done,failed,cancelled' : 'done');

// images are all that are shown, as {job, index}.
export const images = () => entries.flatMap(({ job }) => (job.images ?? []).map((_, index) => ({ job, index })));

export const newest = () => entries.find(({ job }) => job.images)?.job;

// more loads the next page, if there is one.
export const more = () => (next ? load(next) : Promise.resolve());

// peek loads the first page again if its first job is none that is shown.
export async function peek() {
  const { jobs } = await listJobs({ state: states(), limit: 1 });
  if (jobs.some(({ id }) => !entries.some(({ job }) => job.id === id))) await refresh();
}

// refresh loads the first page again.
export const refresh = () => load();

async function load(before) {
  while (loading) await loading; // one after another
  loading = fetchPage(before);
  try {
    await loading;
  } finally {
    loading = null;
  }
}

async function fetchPage(before) {
  const asked = states();
  let answer;
  try {
    answer = await listJobs({ state: asked, limit: page, ...(before ? { before } : {}) });
  } catch (err) {
    if (err.status !== 0) notify(`The history can't be read: ${err.message}`, { error: true });
    return;
  }
  if (asked !== states()) return; // the reader chose another list meanwhile
  if (!before && answer.next && !answer.jobs.some((job) => entries.some((entry) => entry.job.id === job.id))) {
    entries = []; // more is new than a page has: what lies between comes with the next page
    $('tiles').replaceChildren();
  }
  if (before || entries.length === 0) next = answer.next ?? null;
  // What the first page should have and has not was removed elsewhere.
  if (!before) {
    const oldest = answer.next ? answer.jobs.at(-1).seq : 0;
    const present = new Set(answer.jobs.map((job) => job.id));
    for (const { job } of [...entries]) if (job.seq > oldest && !present.has(job.id)) drop(job.id);
  }
  answer.jobs.forEach(add);
  $('nothing').hidden = entries.length > 0;
  $('more').textContent = next ? 'Loading more' : '';
  // The end may still be in view, of which an observer tells nothing.
  end.unobserve($('more'));
  if (next) end.observe($('more'));
}

// add puts a job into its place.
export function add(job) {
  if (entries.some((entry) => entry.job.id === job.id) || ($('show').value !== 'all' && job.state !== 'done')) return;
  let at = entries.findIndex((entry) => entry.job.seq < job.seq);
  if (at < 0) at = entries.length;
  const tiles = job.images?.length > 0 ? job.images.map((image, index) => tile(job, image, index)) : [note(job)];
  const behind = entries[at]?.tiles[0] ?? null;
  for (const element of tiles) $('tiles').insertBefore(element, behind);
  entries.splice(at, 0, { job, tiles });
  $('nothing').hidden = true;
  changed();
}

const titleOf = (job) => promptOf(job) || 'without a prompt';

function tile(job, image, index) {
  const img = h('img', {
    src: thumbnailURL(image.id, 384), srcset: `${thumbnailURL(image.id, 768)} 2x`, alt: titleOf(job), width: image.width, height: image.height, loading: 'lazy', decoding: 'async',
  });
  return h('li', { class: 'tile', 'data-job': job.id }, h('button', {
    type: 'button', title: `${titleOf(job)}\n${moment(job.created)}`, 'data-image': image.id, onclick: () => opened(job, index),
  }, img));
}

// note stands for a job without images.
function note(job) {
  return h('li', { class: 'tile note-tile', 'data-job': job.id }, h('button', { type: 'button', onclick: () => opened(job, -1) },
    h('span', { class: 'muted' }, status(job)), h('span', {}, titleOf(job))));
}

// drop takes a job that is no longer there out of the list.
function drop(id) {
  const at = entries.findIndex((entry) => entry.job.id === id);
  if (at < 0) return;
  entries[at].tiles.forEach((element) => element.remove());
  entries.splice(at, 1);
  $('nothing').hidden = entries.length > 0;
  changed(id);
}

// remove deletes a job with its images, on the server too.
export async function remove(id) {
  try {
    await purgeJob(id);
  } catch (err) {
    if (err.status !== 404 && err.status !== 410) throw err; // another tab was quicker
  }
  drop(id);
  tell({ removed: id });
}

// What a job was computed with, as a request that computes it again, as lines to read, and as a command.
import { url } from './api.js';
import { modelOf } from './choices.js';
import { text as outpaint } from './outpaint.js';
import { size } from './format.js';
import { known } from './units.js';

// Parameters that a request has under the same name, where they are not what a request without them gets.
const same = [
  'emphasis', 'guidance_rescale', 'eta', 'clip_skip', 'interrupt', 'preset', 'strength', 'denoising_start',
  'crops_coords_top_left', 'negative_original_size', 'negative_target_size', 'negative_crops_coords_top_left',
  'aesthetic_score', 'negative_aesthetic_score', 'sigmas', 'timesteps', 'guidance_start', 'guidance_end',
  'pag_scale', 'pag_adaptive_scale', 'pag_applied_layers', 'freeu',
  'outpaint', 'mask_blur', 'soft_mask', 'mask_invert', 'resize',
];
const ordinary = { aesthetic_score: 6, negative_aesthetic_score: 2.5 };
const empty = (value) => value == null || value === '' || value === 0 || (Array.isArray(value) && value.every((item) => item === 0));

// secondPass is a second pass as a request has it: by its scale, or by its size.
export const secondPass = ({ scale, width, height, ...rest }) => ({ ...(scale ? { scale } : { width, height }), ...rest });

// Lists of models with images: of each item what parameters say, as a request says it.
const lists = {
  controls: ({ name, ...rest }) => ({ model: name, ...rest }),
  t2i_adapters: ({ name, ...rest }) => ({ model: name, ...rest }),
  ip_adapters: ({ name, encoder, scale, scales }) => ({ model: name, ...(encoder && { encoder }), ...(scales ? { scales } : { scale }) }),
};

// listsOf are the lists of parameters as a request has them, but for the images.
export function listsOf(parameters) {
  const found = {};
  for (const [name, item] of Object.entries(lists)) if (parameters[name]?.length > 0) found[name] = parameters[name].map(item);
  return found;
}

// place puts an image of a job into a request by its role, such as mask or controls[0].image.
function place(request, { role, id }) {
  const way = role.split(/[.[\]]+/).filter(Boolean).map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  let at = request;
  for (const [i, part] of way.slice(0, -1).entries()) at = at[part] ??= typeof way[i + 1] === 'number' ? [] : {};
  at[way.at(-1)] = id;
}

// requestOf is the body of POST /v1/jobs that computes a job again. image is one of its images, whose seed it gets.
export function requestOf(job, image, options) {
  const p = job.parameters ?? {};
  if (job.task === 'upscale') return upscaleOf(job, options);
  const prompt = p.prompts?.[0] ?? {};
  const request = { prompt: prompt.prompt ?? '', prompt_style: p.prompt_style || 'plain' };
  if (options.models.length > 1 && job.model) request.model = job.model;
  const add = (name, value) => {
    if (value != null && value !== '') request[name] = value;
  };
  add('prompt_2', prompt.prompt_2);
  if (prompt.negative_prompt != null) request.negative_prompt = prompt.negative_prompt;
  add('negative_prompt_2', prompt.negative_prompt_2);
  const source = job.inputs?.find((input) => input.role === 'image');
  if (source) {
    request.image = source.id;
    if (modelOf(options, job.model).refiner) request.refiner = job.refiner === true;
    add('denoising_end', p.denoising_end || null);
    if (p.inpaint_fill && p.inpaint_fill !== 'original') request.inpaint_fill = p.inpaint_fill;
    add('mask_padding', p.mask_padding);
    if (p.keep_unmasked === false) request.keep_unmasked = false;
    if (p.resize || p.mask_padding != null) Object.assign(request, { width: p.width, height: p.height });
  } else {
    Object.assign(request, { width: p.width, height: p.height });
    if (p.hires) request.hires = secondPass(p.hires);
    if (p.experts?.length > 0) request.refiner = true;
    add('denoising_end', p.denoising_end || null);
  }
  for (const name of same) {
    if (!empty(p[name]) && p[name] !== ordinary[name]) request[name] = p[name];
  }
  const own = String([p.height, p.width]);
  for (const name of ['original_size', 'target_size']) {
    if (!empty(p[name]) && String(p[name]) !== own) request[name] = p[name];
  }
  if (!p.timesteps && !p.sigmas) add('num_inference_steps', p.num_inference_steps);
  add('guidance_scale', p.guidance_scale_per_step ?? p.guidance_scale);
  add('scheduler', p.scheduler);
  add('seed', image?.seed ?? p.seed);
  if (p.images > 1) request.n = p.images;
  Object.assign(request, listsOf(p));
  for (const [name, items] of Object.entries(request)) {
    if (name in lists) for (const item of items) item.model = known(options[name] ?? [], item.model);
  }
  for (const input of job.inputs ?? []) if (input !== source) place(request, input);
  const loras = (p.loras ?? []).filter((l) => !(p.prompt_style === 'a1111' && request.prompt.includes(`<lora:${l.name}`)));
  if (loras.length > 0) request.loras = loras.map(({ name, strength }) => ({ name, strength }));
  return request;
}

// upscaleOf is the body that enlarges an image again.
function upscaleOf({ parameters: p = {}, inputs = [] }, options) {
  const { upscaler = '', scale } = p.upscale ?? {};
  return {
    task: 'upscale', image: inputs.find(({ role }) => role === 'image')?.id, upscaler: known(options.upscalers, upscaler), ...(scale ? { scale } : { width: p.width, height: p.height }),
  };
}

const labels = {
  negative_prompt: 'Negative prompt', prompt_2: 'Second prompt', num_inference_steps: 'Steps', guidance_scale: 'Guidance', scheduler: 'Sampler',
  seed: 'Seed', preset: 'Preset', prompt_style: 'Prompt style', strength: 'Strength', denoising_end: 'Refiner from', clip_skip: 'Clip skip',
  loras: 'LoRA', n: 'Images', image: 'Input image', refiner: 'Refiner', mask: 'Mask', outpaint: 'Outpaint', mask_blur: 'Mask blur', mask_padding: 'Mask padding',
  inpaint_fill: 'Begins with', soft_mask: 'Soft mask', mask_invert: 'Inverted mask', resize: 'Resize', hires: 'Hires fix', controls: 'ControlNet',
  t2i_adapters: 'T2I-Adapter', ip_adapters: 'Reference', upscaler: 'Upscaler', scale: 'Scale',
};

// words say a field's value, where its JSON would not be plain.
const words = {
  loras: (list) => list.map((l) => `${l.name} (${l.strength})`).join(', '),
  controls: (list) => list.map((c) => [c.model, `(${c.scale ?? 1})`, c.preprocessor].filter(Boolean).join(' ')).join(', '),
  t2i_adapters: (list) => list.map((a) => `${a.model} (${a.scale ?? 1})`).join(', '),
  ip_adapters: (list) => list.map((a) => `${a.model} (${a.scales ? JSON.stringify(a.scales) : a.scale ?? 1})`).join(', '),
  hires: (h) => [h.upscaler, h.scale ? `${h.scale} ×` : size(h.width, h.height), `strength ${h.strength}`, `${h.num_inference_steps} steps`, h.scheduler, h.prompt].filter(Boolean).join(', '),
  outpaint,
  image: () => 'yes',
  mask: () => 'yes',
  soft_mask: () => 'yes',
  mask_invert: () => 'yes',
};

// describe gives [label, text] of what a job was computed with, the prompt left out.
export function describe(job, image, options) {
  const request = requestOf(job, image, options);
  const p = job.parameters ?? {};
  const lines = [];
  const text = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  for (const name of Object.keys(labels)) {
    const value = request[name];
    if (value == null || value === '' || value === false || value === 'plain') continue;
    if (name === 'refiner') lines.push([labels[name], p.experts?.at(-1)?.model ?? p.model]);
    else lines.push([labels[name], (words[name] ?? text)(value)]);
  }
  for (const [name, value] of Object.entries(request)) {
    if (!(name in labels) && !['prompt', 'width', 'height', 'model', 'task'].includes(name)) lines.push([name, text(value)]);
  }
  if (p.width) lines.push(['Size', size(p.width, p.height)]);
  if (p.model) lines.push(['Model', p.model]);
  if (p.device) lines.push(['Device', [p.device, p.precision].filter(Boolean).join(', ')]);
  return lines;
}

// curl is a request as a command of a POSIX shell.
export function curl(request) {
  const body = JSON.stringify(request).replaceAll("'", "'\\''");
  return `curl ${url('v1/jobs')} -H 'Content-Type: application/json' -d '${body}'`;
}

// copy puts text on the clipboard. Where the page came by http from another machine, browsers have the old way alone.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'hidden';
  const parent = document.querySelector('dialog[open]') ?? document.body;
  parent.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('the browser does not copy');
}

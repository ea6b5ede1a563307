// What a job was computed with, as a request that computes it again, as lines to read, and as a command.
import { url } from './api.js';
import { modelOf } from './choices.js';
import { size } from './format.js';

// Parameters that a request has under the same name, where they are not what a request without them gets.
const same = [
  'emphasis', 'guidance_rescale', 'eta', 'clip_skip', 'interrupt', 'preset', 'strength', 'denoising_start',
  'crops_coords_top_left', 'negative_original_size', 'negative_target_size', 'negative_crops_coords_top_left',
  'aesthetic_score', 'negative_aesthetic_score', 'sigmas', 'timesteps',
];
const ordinary = { aesthetic_score: 6, negative_aesthetic_score: 2.5 };
const empty = (value) => value == null || value === '' || value === 0 || (Array.isArray(value) && value.every((item) => item === 0));

// requestOf is the body of POST /v1/jobs that computes a job again. image is one of its images, whose seed it gets.
export function requestOf(job, image, options) {
  const p = job.parameters ?? {};
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
  } else {
    request.width = p.width;
    request.height = p.height;
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
  const loras = (p.loras ?? []).filter((l) => !(p.prompt_style === 'a1111' && request.prompt.includes(`<lora:${l.name}`)));
  if (loras.length > 0) request.loras = loras.map(({ name, strength }) => ({ name, strength }));
  return request;
}

const labels = {
  negative_prompt: 'Negative prompt', prompt_2: 'Second prompt', num_inference_steps: 'Steps', guidance_scale: 'Guidance', scheduler: 'Sampler',
  seed: 'Seed', preset: 'Preset', prompt_style: 'Prompt style', strength: 'Strength', denoising_end: 'Refiner from', clip_skip: 'Clip skip',
  loras: 'LoRA', n: 'Images', image: 'Input image', refiner: 'Refiner',
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
    if (name === 'loras') lines.push([labels[name], value.map((l) => `${l.name} (${l.strength})`).join(', ')]);
    else if (name === 'refiner') lines.push([labels[name], p.experts?.at(-1)?.model ?? p.model]);
    else if (name === 'image') lines.push([labels[name], 'yes']);
    else lines.push([labels[name], text(value)]);
  }
  for (const [name, value] of Object.entries(request)) {
    if (!(name in labels) && !['prompt', 'width', 'height', 'model'].includes(name)) lines.push([name, text(value)]);
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

// What the form offers: shapes of images, samplers, presets, as the server has them.
import { $, h } from './dom.js';

// Sides of the images that SDXL was trained on, of about 1024 × 1024 pixels.
const shapes = [['Square', 1024, 1024], ['Landscape', 1152, 896], ['Photo', 1216, 832], ['Wide', 1344, 768], ['Cinema', 1536, 640]];

// modelOf is the model of a name, or the one of requests that name none; its refiner is undefined if it has none.
export const modelOf = ({ models }, name) => models.find((m) => m.name === name) ?? models[0];

const option = (value, text = value) => h('option', { value }, text);

// fillOptions fills the lists of the form.
export function fillOptions(options) {
  const base = options.models[0];
  const { multiple, pixels } = options.limits;
  const scaled = (side) => Math.max(multiple, Math.round((side * Math.sqrt(base.width * base.height)) / 1024 / multiple) * multiple);
  $('shapes').replaceChildren(...shapes.filter(([, width, height]) => scaled(width) * scaled(height) <= pixels).map(([name, width, height]) => {
    const drawing = h('i', { 'aria-hidden': 'true' });
    drawing.style.aspectRatio = `${width} / ${height}`;
    return h('button', { type: 'button', 'data-width': scaled(width), 'data-height': scaled(height), title: `${name}, ${scaled(width)} × ${scaled(height)}` }, drawing, name);
  }));
  $('model-name').replaceChildren(...options.models.map((m) => option(m.name)));
  $('model-field').hidden = options.models.length < 2;
  $('scheduler').replaceChildren(option('', `The model's own (${base.scheduler})`), ...samplers(options));
  $('schedule').replaceChildren(option('', "The sampler's"), ...options.schedules.map((name) => option(name)));
  $('preset').replaceChildren(option('', 'Automatic'), ...options.presets.map((name) => option(name)));
  $('prompt_style').replaceChildren(...options.prompt_styles.map((name) => option(name)));
  $('format').replaceChildren(...options.output_formats.map((name) => option(name, name.toUpperCase())));
}

// samplers groups the names by the programs whose they are, without those that only name a schedule too.
function samplers(options) {
  const groups = { diffusers: [], A1111: [], ComfyUI: [] };
  for (const name of options.schedulers) {
    if (splitScheduler(name, options)[1] !== '') continue;
    groups[name.startsWith('k_') ? 'A1111' : name.startsWith('comfy_') ? 'ComfyUI' : 'diffusers'].push(option(name));
  }
  return Object.entries(groups).filter(([, list]) => list.length > 0).map(([label, list]) => h('optgroup', { label }, list));
}

// splitScheduler gives the sampler and the schedule of a name as euler_karras. What the server's lists do not have, as
// another program's name, is all the sampler's.
export function splitScheduler(name, { schedulers, schedules }) {
  const schedule = schedules.filter((s) => name.endsWith(`_${s}`) && schedulers.includes(name.slice(0, -s.length - 1))).sort((a, b) => b.length - a.length)[0];
  return schedule ? [name.slice(0, -schedule.length - 1), schedule] : [name, ''];
}

export const joinScheduler = (sampler, schedule) => (sampler && schedule ? `${sampler}_${schedule}` : sampler);

// showShape marks the shape that a size is of, upright or not.
export function showShape(width, height) {
  for (const button of $('shapes').children) {
    const same = button.dataset.width === width && button.dataset.height === height;
    const upright = button.dataset.width === height && button.dataset.height === width;
    button.setAttribute('aria-pressed', String(same || upright));
    button.classList.toggle('upright', upright && !same);
  }
}

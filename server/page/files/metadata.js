// What image files say of how they were made: text chunks of PNG files, goxl's own and A1111's infotext, which JPEG and
// WebP files have too.
import { readComment } from './exif.js';
import { listsOf, secondPass } from './params.js';

const latin1 = new TextDecoder('latin1'); // windows-1252 in browsers: the same but for C1 controls, which no prompt has
const utf8 = new TextDecoder();
const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const mostText = 1 << 20; // bytes of a text that was compressed

async function inflate(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  const parts = [];
  for (let length = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    length += value.length;
    if (length > mostText) throw new Error('a text of the file is too long');
    parts.push(value);
  }
}

// readTexts gives the texts of a file by their keys, none of what is no image with texts.
export async function readTexts(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const texts = {};
  if (signature.some((byte, i) => bytes[i] !== byte)) {
    const comment = readComment(bytes);
    return comment ? { parameters: comment } : texts;
  }
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const type = latin1.decode(bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    at += 12 + length;
    try {
      const text = await readChunk(type, content);
      if (text) texts[text[0]] ??= text[1];
    } catch {
      continue; // a damaged text is passed over, as Pillow does
    }
    if (type === 'IEND') break;
  }
  return texts;
}

async function readChunk(type, content) {
  const end = content.indexOf(0);
  if (end < 1) return null;
  const key = latin1.decode(content.subarray(0, end));
  const rest = content.subarray(end + 1);
  switch (type) {
    case 'tEXt':
      return [key, latin1.decode(rest)];
    case 'zTXt':
      return [key, latin1.decode(await inflate(rest.subarray(1)))];
    case 'iTXt': {
      const language = rest.indexOf(0, 2);
      const translated = rest.indexOf(0, language + 1);
      if (language < 0 || translated < 0) return null;
      const text = rest.subarray(translated + 1);
      return [key, utf8.decode(rest[0] === 1 ? await inflate(text) : text)];
    }
  }
  return null;
}

// parseInfotext reads what A1111 writes of an image: the prompt, the negative prompt, and a line of the rest.
export function parseInfotext(text) {
  const lines = text.trim().split('\n');
  const last = fields(lines.at(-1));
  if (Object.keys(last).length < 3) return { prompt: text.trim(), negative: null, settings: {} };
  lines.pop();
  const at = lines.findIndex((line) => line.startsWith('Negative prompt:'));
  const prompt = (at < 0 ? lines : lines.slice(0, at)).join('\n').trim();
  const negative = at < 0 ? null : lines.slice(at).join('\n').slice('Negative prompt:'.length).trim();
  return { prompt, negative, settings: last };
}

function fields(line) {
  const found = {};
  for (const [, key, quoted, plain] of line.matchAll(/\s*([\w][\w /-]*):\s*(?:("(?:\\.|[^\\"])+")|([^,]*))(?:,|$)/g)) {
    try {
      found[key.trim()] = quoted ? JSON.parse(quoted) : plain.trim();
    } catch {
      found[key.trim()] = quoted;
    }
  }
  return found;
}

const number = (text) => (text == null || text.trim() === '' || Number.isNaN(Number(text)) ? undefined : Number(text));

// seed keeps all digits.
const seed = (text) => (/^\d+$/.test(text ?? '') ? (Number.isSafeInteger(Number(text)) ? Number(text) : text) : undefined);

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// requestOfTexts is the request that the texts of an image file tell, or null if they tell none.
export function requestOfTexts(texts) {
  if (texts.num_inference_steps && texts.prompt != null && texts.version) return ofGoxl(texts);
  if (texts.parameters) return ofInfotext(parseInfotext(texts.parameters));
  return null;
}

function ofGoxl(texts) {
  const [width, height] = texts.size?.split('x').map(Number) ?? [];
  const request = {
    prompt_style: 'plain', prompt: texts.prompt, prompt_2: texts.prompt_2, negative_prompt: texts.negative_prompt, negative_prompt_2: texts.negative_prompt_2, width, height,
    num_inference_steps: number(texts.num_inference_steps), guidance_scale: json(texts.guidance_scale), seed: seed(texts.seed),
    scheduler: texts.scheduler, strength: number(texts.strength), denoising_end: number(texts.denoising_end), n: number(texts.num_images_per_prompt),
  };
  for (const name of ['prompt_style', 'preset', 'emphasis', 'guidance_rescale', 'eta', 'clip_skip', 'timesteps', 'sigmas', 'interrupt', 'denoising_start',
    'original_size', 'target_size', 'crops_coords_top_left', 'negative_original_size', 'negative_target_size', 'negative_crops_coords_top_left',
    'aesthetic_score', 'negative_aesthetic_score', 'guidance_start', 'guidance_end', 'pag_scale', 'pag_adaptive_scale', 'pag_applied_layers', 'freeu',
    'soft_mask', 'mask_blur', 'mask_invert', 'inpaint_fill', 'mask_padding', 'keep_unmasked']) {
    if (texts[name] != null) request[name] = json(texts[name]);
  }
  if (texts.timesteps || texts.sigmas) request.num_inference_steps = undefined;
  if (texts.refiner) request.refiner = true;
  const inPrompt = (name) => request.prompt_style === 'a1111' && request.prompt.includes(`<lora:${name}`);
  const loras = texts.loras && json(texts.loras).filter(({ name }) => !inPrompt(name)).map(({ name, strength }) => ({ name, strength }));
  if (loras?.length > 0) request.loras = loras;
  if (texts.hires) request.hires = secondPass(json(texts.hires));
  // The images of these are not in the file: the reader chooses them.
  Object.assign(request, listsOf(Object.fromEntries(['controls', 't2i_adapters', 'ip_adapters'].filter((name) => texts[name]).map((name) => [name, json(texts[name])]))));
  return compact(request);
}

function ofInfotext({ prompt, negative, settings }) {
  const [width, height] = /^(\d+)x(\d+)$/.exec(settings.Size ?? '')?.slice(1).map(Number) ?? [];
  const schedule = settings['Schedule type'];
  const clipSkip = number(settings['Clip skip']);
  const request = {
    prompt, negative_prompt: negative ?? '', width, height, prompt_style: 'a1111',
    num_inference_steps: number(settings.Steps), guidance_scale: number(settings['CFG scale']), seed: seed(settings.Seed),
    scheduler: settings.Sampler && (schedule && schedule !== 'Automatic' ? `${settings.Sampler} ${schedule}` : settings.Sampler),
    strength: number(settings['Denoising strength']), clip_skip: clipSkip > 2 ? clipSkip - 2 : undefined,
    denoising_end: number(settings['Refiner switch at']),
    emphasis: settings.Emphasis === 'No norm' ? 'nonorm' : undefined,
  };
  if (settings.Refiner) request.refiner = true;
  request.hires = ofHires(settings);
  return compact(request);
}

// ofHires is A1111's second pass, whose strength is the one that the infotext has.
function ofHires(settings) {
  const scale = number(settings['Hires upscale']);
  const [width, height] = /^(\d+)x(\d+)$/.exec(settings['Hires resize'] ?? '')?.slice(1).map(Number) ?? [];
  if (!scale && !width && !height) return undefined;
  return compact({
    ...(scale ? { scale } : { width: width || undefined, height: height || undefined }),
    num_inference_steps: number(settings['Hires steps']) || undefined, strength: number(settings['Denoising strength']), upscaler: settings['Hires upscaler'],
    prompt: settings['Hires prompt'] || undefined, negative_prompt: settings['Hires negative prompt'] || undefined,
    scheduler: settings['Hires sampler'] && settings['Hires sampler'] !== 'Use same sampler' ? settings['Hires sampler'] : undefined,
  });
}

const compact = (request) => Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined && !Number.isNaN(value)));

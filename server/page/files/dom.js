// Making and finding elements.

export const $ = (id) => document.getElementById(id);

// h makes an element. Attributes that are functions are listeners, as onclick; false, null and undefined are left out.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

// icon is a drawing of icons.svg, for which a label stands elsewhere.
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', icons[name]);
  svg.append(path);
  return svg;
}

const icons = {
  download: 'M12 4v11m0 0l-4-4m4 4l4-4M5 20h14',
  reuse: 'M4 12a8 8 0 0 1 14-5.3L20 9m0-5v5h-5M20 12a8 8 0 0 1-14 5.3L4 15m0 5v-5h5',
  input: 'M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 4',
  refine: 'M12 3l1.8 5.2L19 10l-5.2 1.8L12 17l-1.8-5.2L5 10l5.2-1.8zM19 16l.7 2.3L22 19l-2.3.7L19 22l-.7-2.3L16 19l2.3-.7z',
  seed: 'M5 5h14v14H5zM9 9h.01M15 9h.01M9 15h.01M15 15h.01M12 12h.01',
  curl: 'M5 7l5 5-5 5M12 17h7',
  delete: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5',
  brush: 'M14 10l6-6M9 12l3 3c0 4-3 6-8 6 2-1 1-2 1-4 0-3 2-5 4-5z',
  eraser: 'M4 15l9-10 7 6-8 9H8zM9 10l7 6M12 20h8',
  undo: 'M8 5L4 9l4 4M4 9h10a5 5 0 0 1 0 10h-4',
  redo: 'M16 5l4 4-4 4M20 9H10a5 5 0 0 0 0 10h4',
  plus: 'M12 6v12M6 12h12',
  minus: 'M6 12h12',
  upscale: 'M4 4h7v7H4zM14 4h6v6M20 4l-6 6M20 14v6H4v-6',
  compare: 'M4 5h16v14H4zM12 3v18M9 10l-2 2 2 2M15 10l2 2-2 2',
  control: 'M4 6h9M17 6h3M4 12h3M11 12h9M4 18h9M17 18h3M15 4v4M9 10v4M15 16v4',
  reference: 'M5 4h10v10H5zM9 14v6h10V10h-4',
  close: 'M6 6l12 12M18 6L6 18',
  left: 'M15 5l-7 7 7 7',
  right: 'M9 5l7 7-7 7',
};

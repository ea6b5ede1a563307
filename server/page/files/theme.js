// The colours: the system's, light, or dark. This runs before the page is shown, so that it does not change its colours
// before the reader's eyes.
(() => {
  const names = ['auto', 'light', 'dark'];
  const key = 'goxl.theme';
  const stored = () => {
    try {
      return names.includes(localStorage.getItem(key)) ? localStorage.getItem(key) : 'auto';
    } catch { // storage is turned off
      return 'auto';
    }
  };
  let theme = stored();
  const show = () => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById('theme');
    if (!button) return;
    button.dataset.theme = theme;
    button.setAttribute('aria-label', `Colours: ${theme === 'auto' ? 'as the system' : theme}. Change`);
    button.title = `Colours: ${theme === 'auto' ? 'as the system' : theme}`;
  };
  show();
  addEventListener('storage', (event) => {
    if (event.key === key) {
      theme = stored();
      show();
    }
  });
  document.addEventListener('DOMContentLoaded', () => {
    document.getElementById('theme').addEventListener('click', () => {
      theme = names[(names.indexOf(theme) + 1) % names.length];
      try {
        localStorage.setItem(key, theme);
      } catch { // it holds for this page then
      }
      show();
    });
    show();
  });
})();

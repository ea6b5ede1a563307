// Servers with tokens: a token opens a session, whose cookie the browser sends with images and events too.
import { $ } from './dom.js';
import { onSignIn, url } from './api.js';

let asking = null; // one dialog for all requests that were refused

async function openSession(token) {
  const response = await fetch(url('v1/session'), { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  if (response.ok) return '';
  return response.status === 401 ? 'The server does not know this token' : `The server answers ${response.status}`;
}

function ask() {
  return new Promise((resolve) => {
    const dialog = $('sign-in');
    $('token').value = '';
    $('sign-in-problem').hidden = true;
    dialog.onclose = () => resolve(false); // the next request asks again
    dialog.querySelector('form').onsubmit = async (event) => {
      event.preventDefault();
      const problem = await openSession($('token').value).catch(() => 'The server does not answer');
      if (problem === '') {
        resolve(true);
        dialog.close();
        return;
      }
      $('sign-in-problem').textContent = problem;
      $('sign-in-problem').hidden = false;
    };
    dialog.showModal();
  });
}

onSignIn(() => {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
});

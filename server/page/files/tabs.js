// What the tabs of one browser tell each other, so that all show the same.

const channel = new BroadcastChannel('goxl' + new URL('../', import.meta.url).pathname);

// tell sends a message to the other tabs.
export const tell = (message) => channel.postMessage(message);

// onTold is called with each message of another tab.
export const onTold = (handle) => channel.addEventListener('message', (event) => handle(event.data));

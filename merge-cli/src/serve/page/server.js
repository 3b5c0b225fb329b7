// The server: what it is asked, and the jobs as it last told of them.

import { $, say } from './elements.js';
import { texts } from './texts.js';
import { fill } from './words.js';

/** Jobs by number, as the server last told of them; `heard` is when. */
export const jobs = new Map();
export let machine = {};
/** Resolved when the server has first told of itself. */
export const met = Promise.withResolvers();

/** What the server would not do, and what to do about it; of status 0 if it did not answer. */
export class Refusal extends Error {
  constructor(status, { error, hint }) {
    super(error ?? fill(texts.SERVER_ANSWERED, { status }));
    this.status = status;
    this.hint = hint;
  }
}

/** Tells of what the server refused, or could not do. */
export function complain(error) {
  if (error.name === 'AbortError') return;
  if (!(error instanceof Refusal)) throw error;
  $('alert').hidden = false;
  $('alert-text').textContent = error.message;
  $('alert-hint').textContent = error.hint ?? '';
}
$('alert-close').onclick = () => { $('alert').hidden = true; };

/** The token never leaves this tab but in a header. */
export const token = () => sessionStorage.getItem('token');
let asking = null;

function askToken(refused) {
  // Another request may have been given one meanwhile.
  if (token() !== refused) return Promise.resolve();
  asking ??= new Promise((go) => {
    if (refused) say($('token-text'), texts.TOKEN_REFUSED);
    $('ask-token').showModal();
    $('token-form').onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem('token', $('token').value.trim());
      $('token').value = '';
      $('ask-token').close();
    };
    $('ask-token').onclose = () => { asking = null; go(); };
  });
  return asking;
}

export async function request(path, options = {}) {
  for (;;) {
    const used = token();
    const headers = { ...options.headers, ...(used && { authorization: `Bearer ${used}` }) };
    const answer = await fetch(path, { cache: 'no-store', ...options, headers }).catch((error) => {
      throw error.name === 'AbortError' ? error : new Refusal(0, { error: texts.SERVER_AWAY });
    });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
    await askToken(used);
  }
}

export const get = async (path, signal) => (await request(path, { signal })).json();
export const post = async (path, body, signal) => {
  const headers = { 'content-type': 'application/json' };
  return (await request(path, { method: 'POST', headers, body: JSON.stringify(body), signal })).json();
};

/** Tells the views: `news` of some job, or `listed`, after which nothing that was known before counts. */
const tell = (what) => document.dispatchEvent(new Event(what));

export function hear(job) {
  jobs.set(job.id, { ...job, heard: performance.now() });
  tell('news');
}

/** Longer than the server is ever silent, milliseconds. */
const SILENCE = 45_000;

/** The events of a stream, as name and data. */
async function* events(body, abort) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const silence = setTimeout(() => abort.abort(), SILENCE);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const blocks = (text + value).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const lines = block.split('\n').map((line) => line.match(/^(\w+): ?(.*)$/) ?? []);
      const field = (name) => lines.filter((line) => line[1] === name).map((line) => line[2]).join('\n');
      if (field('data')) yield [field('event'), JSON.parse(field('data'))];
    }
  }
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Keeps the jobs as the server has them, for as long as the page is open. */
export async function live() {
  for (let wait = 500; ; wait = Math.min(2 * wait, 5000)) {
    let why = texts.SERVER_AWAY;
    try {
      const abort = new AbortController();
      // First the stream and then the list, so that nothing is missed between them.
      const stream = await request('/api/events', { headers: { accept: 'text/event-stream' }, signal: abort.signal });
      await list(abort.signal);
      met.resolve();
      connection('live', texts.LIVE);
      wait = 250;
      for await (const [name, data] of events(stream.body, abort)) {
        if (name === 'job') hear(data);
        if (name === 'removed') jobs.delete(data.id);
        if (name === 'missed') await list(abort.signal);
        tell('news');
      }
    } catch (error) {
      if (error instanceof Refusal) why = error.message;
    }
    connection('away', fill(texts.TRYING_AGAIN, { why }));
    await pause(wait);
  }
}

async function list(signal) {
  const all = await get('/api/jobs', signal);
  machine = all.server;
  jobs.clear();
  all.jobs.forEach(hear);
  tell('listed');
}

function connection(state, text) {
  $('connection').dataset.state = state;
  say($('connection'), text);
  tell('news');
}

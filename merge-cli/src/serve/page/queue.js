// The queue: a table of jobs, of which only so many are drawn that a browser stays quick.

import { $, button, make, maybe, say, setBar } from './elements.js';
import { jobs, machine } from './server.js';
import { texts } from './texts.js';
import {
  STATES, briefly, bytes, count, fill, kindWord, number, share, stateOf, stateWord, timesOf, whyOf,
} from './words.js';

/** Rows that are drawn at once: more make a browser slow, and nobody reads them. */
const STEP = 200;
let limit = STEP;
const wanted = new Set();
const rows = new Map();

const stateButtons = Object.fromEntries(STATES.map((state) => [state, button(stateWord(state), () => {
  if (!wanted.delete(state)) wanted.add(state);
  refilter();
}, { 'aria-pressed': 'false' })]));
$('states').append(...Object.values(stateButtons));
$('find').oninput = refilter;
$('more').onclick = () => { limit += STEP; drawQueue(); };

function refilter() {
  limit = STEP;
  drawQueue();
}

/** What runs, then what is to run in the order of its turn, then what has ended, latest first. */
function compare(a, b) {
  const rank = (job) => Math.min(STATES.indexOf(job.state), 3);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  return rank(a) === 3 ? b.changed_at - a.changed_at || b.id - a.id : b.priority - a.priority || a.id - b.id;
}

export function drawQueue() {
  const all = [...jobs.values()];
  for (const [state, node] of Object.entries(stateButtons)) {
    say(node, `${stateWord(state)} ${number.format(all.filter((job) => job.state === state).length)}`);
    node.setAttribute('aria-pressed', wanted.has(state));
  }
  const words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = all.filter((job) => {
    if (wanted.size && !wanted.has(job.state)) return false;
    const { id, name, kind, labels, words: command, why, waits } = job;
    if (!words.length) return true;
    const text = [`#${id}`, name, kind, kindWord(kind), ...labels, ...command, why, waits].join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const top = found.sort(compare).slice(0, limit);

  const kept = new Set(top.map((job) => job.id));
  for (const [id, row] of rows) {
    if (kept.has(id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  top.forEach((job, place) => {
    if (!rows.has(job.id)) rows.set(job.id, newRow(job));
    const row = rows.get(job.id);
    if (row.job !== job || job.state === 'running') drawRow(row, job);
    const there = $('rows').children[place];
    if (there !== row.node) $('rows').insertBefore(row.node, there ?? null);
  });
  $('jobs').hidden = !top.length;
  maybe($('nothing'), top.length || !machine.slots ? '' : all.length ? texts.NO_SUCH_JOBS : texts.QUEUE_EMPTY);
  maybe($('more'), found.length > limit ? fill(texts.SHOW_MORE, { n: number.format(found.length - limit) }) : '');
  drawMachine();
}

function drawMachine() {
  const { slots, threads, memory, disk_free: disk, version } = machine;
  if (!slots) return;
  const parts = [count(slots, texts.SLOT), count(threads, texts.THREAD)];
  parts.push(fill(texts.OF_MEMORY, { size: bytes(memory) }));
  if (disk != null) parts.push(fill(texts.FREE_ON_DISK, { size: bytes(disk) }));
  say($('machine'), [...parts, fill(texts.VERSION, { version })].join(' · '));
}

function newRow({ id, kind }) {
  const row = {
    link: make('a', { href: `#/job/${id}` }), labels: make('span'), note: make('small', { class: 'soft' }),
    state: make('span', { class: 'state' }), bar: make('progress', { max: 1, 'aria-label': fill(texts.PROGRESS_OF, { id }) }),
    progress: make('small', { class: 'soft' }), ran: make('span'), left: make('small', { class: 'soft' }),
    priority: make('td', { class: 'n priority' }),
  };
  row.node = make('tr', {},
    make('td', { class: 'n' }, String(id)), make('td', { class: 'name' }, row.link, row.labels, row.note),
    make('td', { class: 'kind' }, kindWord(kind)), make('td', {}, row.state),
    make('td', { class: 'progress' }, row.bar, row.progress),
    make('td', { class: 'time' }, row.ran, row.left), row.priority);
  return row;
}

function drawRow(row, job) {
  row.job = job;
  const active = ['running', 'paused'].includes(job.state);
  row.node.dataset.state = job.state;
  say(row.link, job.name);
  row.labels.replaceChildren(...job.labels.map((label) => make('span', { class: 'label' }, label)));
  maybe(row.note, whyOf(job));
  say(row.state, stateOf(job));
  setBar(row.bar, active ? share(job) : null);
  maybe(row.progress, active ? briefly(job) : '');
  const [ran, left] = timesOf(job);
  say(row.ran, ran);
  maybe(row.left, left);
  say(row.priority, String(job.priority));
}

// A job: how far it is, what it says, what has happened to it, and what can be done with it.

import { $, button, make, maybe, say, setBar, sure } from './elements.js';
import { complain, get, hear, jobs, pause, post, request, token } from './server.js';
import { texts } from './texts.js';
import {
  bytes, date, duration, eventOf, fill, kindWord, needed, progressOf, share, stateOf, stateWord, timesOf, whyOf,
} from './words.js';

/** The job that is shown, if one is; `seen` is what was fetched for which state of it. */
let shown = null;

/** What a sheet takes beside what is in it, in pixels. */
const ROOM = 44;

/** Letters of a log that are kept in the page. */
const LOG = 400_000;

// What was asked for while the server was away is asked for again.
document.addEventListener('listed', () => { if (shown) shown.seen = {}; });

export function openJob(id) {
  shown = { id, seen: {}, abort: new AbortController() };
  for (const name of ['events', 'log', 'output', 'chart', 'facts', 'job-buttons']) $(name).replaceChildren();
  for (const name of ['job-output', 'job-chart', 'to-end']) $(name).hidden = true;
  followLog(shown).catch(complain);
}

export function closeJob() {
  shown?.abort.abort();
  shown = null;
}

/** Does something once for each value of a key; what the server does not have (any more) is no error here. */
function once(name, key, act) {
  const { seen, abort } = shown;
  if (seen[name] === key) return;
  seen[name] = key;
  act(abort.signal).catch((error) => { if (![0, 404].includes(error.status)) complain(error); });
}

export function drawJob() {
  const job = jobs.get(shown.id);
  $('job-body').hidden = !job;
  if (!job) {
    const text = $('connection').dataset.state === 'live' ? texts.NO_JOB : texts.JOB_NUMBER;
    say($('job-title'), fill(text, { id: shown.id }));
    return;
  }
  const path = `/api/jobs/${job.id}`;
  document.title = `${job.name} (${stateWord(job.state)}) – evomerge`;
  if ($('job-title').textContent !== `${job.name} #${job.id}`) {
    $('job-title').replaceChildren(`${job.name} `, make('small', {}, `#${job.id}`));
  }
  $('job-now').dataset.state = job.state;
  say($('job-state'), stateOf(job));
  const [ran, left] = timesOf(job);
  const uses = job.memory && fill(texts.USES_MEMORY, { size: bytes(job.memory) });
  say($('job-time'), [kindWord(job.kind), ran && fill(texts.RAN, { time: ran }), left, uses].filter(Boolean).join(' · '));
  const active = ['running', 'paused', 'queued'].includes(job.state);
  setBar($('job-bar'), active ? share(job) : null);
  maybe($('job-progress'), active ? progressOf(job) : '');
  maybe($('job-why'), whyOf(job));

  const stands = `${job.state} ${job.asked} ${job.attempts} ${job.changed_at}`;
  if (shown.seen.buttons !== stands) {
    shown.seen.buttons = stands;
    const focused = document.activeElement?.closest('#job-buttons') && document.activeElement.textContent;
    $('job-buttons').replaceChildren(...buttons(job, path));
    // Whoever uses the keyboard stays where they were.
    const same = [...$('job-buttons').children].find((node) => node.textContent === focused);
    if (focused) (same ?? $('job-title')).focus();
    drawFacts(factsOf(job, path));
  }
  once('events', stands, async (signal) => {
    const { events, texts: files, model } = await get(path, signal);
    drawEvents(events);
    const found = { [texts.MODEL]: model && make('code', {}, model), [texts.READS]: copies(files) };
    drawFacts({ ...factsOf(job, path), ...found });
  });
  if (job.state === 'done') {
    once('output', stands, async (signal) => {
      const { text } = await get(`${path}/output`, signal);
      say($('output'), text);
      $('job-output').hidden = !text.trim();
    });
  }
  const { phase, generation, gain } = job.progress ?? {};
  if (job.kind === 'search' && (gain || job.state === 'done')) {
    once('chart', `${stands} ${phase} ${generation}`, async (signal) => {
      const width = Math.round($('job-body').clientWidth) - ROOM;
      drawChart(await (await request(`${path}/chart?width=${width}`, { signal })).text());
    });
  }
}

function buttons(job, path) {
  const act = (what, body = {}) => () => post(`${path}/${what}`, body).then(hear).catch(complain);
  const list = [];
  const { state, asked } = job;
  if (state === 'done' && job.kind === 'search') list.push(reportLink(job, path));
  if ((state === 'running' && !asked) || state === 'queued') list.push(button(texts.PAUSE, act('pause')));
  if (state === 'paused' || asked === 'pause') list.push(button(texts.RESUME, act('resume'), { class: 'main' }));
  if (['queued', 'running', 'paused'].includes(state) && asked !== 'cancel') {
    list.push(button(texts.CANCEL, async () => {
      if (await sure(fill(texts.CANCEL_WHICH, job), texts.CANCEL_MEANS, texts.CANCEL_YES)) act('cancel')();
    }));
  }
  if (state === 'failed' || state === 'cancelled') {
    const text = job.quarantined ? texts.RETRY_ALL_THE_SAME : texts.RETRY;
    list.push(button(text, act('retry', { force: job.quarantined }), { class: 'main' }));
  }
  if (['done', 'failed', 'cancelled'].includes(state)) {
    list.push(button(texts.REMOVE, async () => {
      if (!await sure(fill(texts.REMOVE_WHICH, job), texts.REMOVE_MEANS, texts.REMOVE_YES)) return;
      request(path, { method: 'DELETE' }).then(() => { location.hash = '#/'; }).catch(complain);
    }));
  }
  return list;
}

/** A page cannot be opened with a token in a header: with one, the report is fetched and saved. */
function reportLink(job, path) {
  const link = make('a', { class: 'button', href: `${path}/report`, target: '_blank', rel: 'noopener' });
  link.append(token() ? texts.SAVE_REPORT : texts.OPEN_REPORT);
  link.onclick = async (event) => {
    if (!token()) return;
    event.preventDefault();
    try {
      const url = URL.createObjectURL(await (await request(`${path}/report`)).blob());
      make('a', { href: url, download: `job-${job.id}.html` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      complain(error);
    }
  };
  return link;
}

/** Each file that a job reads, and in a tip where the queue's copy of it is. */
function copies(files) {
  const list = make('span');
  const code = ({ file, copy }) => make('code', { title: fill(texts.QUEUES_COPY, { copy }) }, file);
  list.append(...files.flatMap((file) => [code(file), ' ']));
  return files.length && list;
}

/** A number, and buttons that change it while it counts. */
function priority(job, path) {
  const row = make('span', {}, `${job.priority} `);
  if (['done', 'failed', 'cancelled'].includes(job.state)) return row;
  for (const [sign, step, what] of [['+', 1, texts.HIGHER_PRIORITY], ['−', -1, texts.LOWER_PRIORITY]]) {
    const act = () => post(`${path}/priority`, { priority: job.priority + step }).then(hear).catch(complain);
    row.append(button(sign, act, { 'aria-label': what }), ' ');
  }
  return row;
}

function factsOf(job, path) {
  const { limits, needs } = job;
  const link = (id) => make('a', { href: `#/job/${id}` }, `#${id}`);
  return {
    [texts.COMMAND]: make('code', {}, `evomerge ${job.words.join(' ')}`),
    [texts.PRIORITY]: priority(job, path),
    [texts.AFTER]: job.after.length && make('span', {}, ...job.after.flatMap((id) => [link(id), ' '])),
    [texts.LABELS]: job.labels.join(', '),
    [texts.ATTEMPTS]: String(job.attempts),
    [texts.SUBMITTED]: date.format(job.submitted_at),
    [texts.CHANGED]: date.format(job.changed_at),
    [texts.TIME_LIMIT]: limits.seconds == null ? '' : duration(limits.seconds),
    [texts.DISK_LIMIT]: limits.bytes == null ? '' : bytes(limits.bytes),
    [texts.LIKELY_NEEDS]: needed(needs),
  };
}

function drawFacts(facts) {
  const pairs = Object.entries(facts).filter(([, value]) => value);
  $('facts').replaceChildren(...pairs.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));
}

function drawEvents(list) {
  const when = ({ at }) => make('time', { datetime: new Date(at).toISOString() }, date.format(at));
  const items = list.map((event) => make('li', {}, when(event), make('span', {}, eventOf(event))));
  $('events').replaceChildren(...items.reverse());
}

/** What a drawing may consist of. */
const DRAWN = new Set('svg g line polyline polygon path rect circle text tspan title desc'.split(' '));

function drawChart(text) {
  const svg = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement;
  if (svg.localName !== 'svg') return;
  for (const node of [svg, ...svg.querySelectorAll('*')]) {
    if (!DRAWN.has(node.localName)) node.remove();
    for (const { name } of [...node.attributes]) {
      if (/^on|href|^style$/i.test(name)) node.removeAttribute(name);
    }
  }
  $('chart').replaceChildren(svg);
  $('job-chart').hidden = false;
}

/** Reads the log on, second by second, until another view is opened. */
async function followLog(view) {
  const log = $('log');
  let from = null;
  let known = null;
  for (; !view.abort.signal.aborted; await pause(1000)) {
    const job = jobs.get(view.id);
    const stands = `${job?.state} ${job?.attempts}`;
    if (!job || document.hidden || (job.state !== 'running' && known === stands)) continue;
    const path = `/api/jobs/${view.id}/log${from == null ? '' : `?from=${from}`}`;
    // A server that is away is told of elsewhere, and the next second may find it.
    const part = await get(path, view.abort.signal).catch((error) => error.status && { text: '', next: from });
    if (!part || view.abort.signal.aborted) continue;
    from = part.next;
    if (!part.text) known = stands;
    const follows = atEnd(log);
    log.append(part.text);
    if (follows && log.textContent.length > LOG) log.textContent = log.textContent.slice(-LOG / 2);
    if (follows) log.scrollTop = log.scrollHeight;
  }
}

const atEnd = (node) => node.scrollHeight - node.scrollTop - node.clientHeight < 30;
$('log').onscroll = () => { $('to-end').hidden = atEnd($('log')); };
$('to-end').onclick = () => { $('log').scrollTop = $('log').scrollHeight; };

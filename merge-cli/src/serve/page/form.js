// The form that hands a job in: a recipe, chosen or written, which is checked while it is.

import { $, button, make, say } from './elements.js';
import { Refusal, complain, get, hear, machine, met, post } from './server.js';
import { texts } from './texts.js';
import { BYTES, SECONDS, fill, kindWord, measured, needed } from './words.js';

/** One key for one filled-in form: what is sent twice is done once. */
let key = null;
let checking = null;
/** The recipes there are. */
let known = new Set();

const CAN = { merge: texts.CAN_MERGE, eval: texts.CAN_EVAL, search: texts.CAN_SEARCH, report: texts.CAN_REPORT };

/** The height of a line of the editor in the style sheet, pixels. */
const LINE = 20;

const source = () => $('form').elements.source.value;

export async function openForm() {
  const [{ recipes }] = await Promise.all([get('/api/recipes'), met.promise]);
  known = new Set(recipes.map(({ file }) => file));
  const chosen = $('file').value;
  const option = ({ file, kind }) => {
    return make('option', { value: file }, fill(texts.FILE_OF_KIND, { file, kind: kindWord(kind) }));
  };
  $('file').replaceChildren(...recipes.map(option));
  if (known.has(chosen)) $('file').value = chosen;
  if (!recipes.length) $('form').elements.source.value = 'text';
  // Beside the recipes that there are: what they name, a new one may name.
  if (!$('save-as').value) $('save-as').value = unused($('file').value.replace(/[^/]*$/, 'recipe.yaml'));
  await drawSource();
}

/** A name that no recipe has yet; in the first root, if it has no folder. */
function unused(name) {
  const place = name.includes('/') ? name : `${machine.roots?.[0] ?? 'recipes'}/${name}`;
  const [, stem, ending] = place.match(/^(.*?)(?:-\d+)?(\.[^./]*)?$/);
  for (let n = 2, file = place; ; n += 1) {
    if (!known.has(file)) return file;
    file = `${stem}-${n}${ending ?? '.yaml'}`;
  }
}

async function drawSource() {
  const own = source() === 'text';
  $('with-text').hidden = !own;
  $('save-as').disabled = !own;
  $('with-file').hidden = own;
  $('text').readOnly = !own;
  if (!own) {
    const file = $('file').value;
    const text = file ? (await get(`/api/recipes/text?file=${encodeURIComponent(file)}`)).text : '';
    if (source() === 'file' && $('file').value === file) $('text').value = text;
  }
  drawNumbers();
  changed();
}

$('copy').onclick = () => {
  $('save-as').value = unused($('file').value || 'recipe.yaml');
  $('form').elements.source.value = 'text';
  drawSource().catch(complain);
  goTo(1, 1);
};

function drawNumbers() {
  const lines = $('text').value.split('\n').length;
  say($('numbers'), `${Array.from({ length: lines }, (_, i) => i + 1).join('\n')}\n\n`);
}

$('text').onscroll = () => {
  $('numbers').scrollTop = $('text').scrollTop;
  $('mark').style.transform = `translateY(${LINE * ($('mark').dataset.line - 1) - $('text').scrollTop}px)`;
};

/** What the form says, as the server takes it. What is wrong is told where it is. */
function submission() {
  const body = { key, priority: Number($('priority').value) || 0 };
  if (source() === 'file') body.file = $('file').value;
  else Object.assign(body, { text: $('text').value, save_as: $('save-as').value.trim() });
  const words = (id) => $(id).value.split(/[\s,、]+/).filter(Boolean);
  const read = (id, value, hint) => {
    $(id).setCustomValidity($(id).value.trim() && !value ? hint : '');
    return value;
  };
  const ids = words('after').map((word) => Number(word.replace(/^#/, '')));
  const numbers = ids.every((id) => Number.isInteger(id) && id > 0) && ids;
  body.after = read('after', numbers, texts.JOBS_WANTED) || [];
  body.labels = words('labels');
  const [seconds, size] = [measured($('seconds').value, SECONDS), measured($('bytes').value, BYTES)];
  body.seconds = read('seconds', seconds, texts.TIME_WANTED) || undefined;
  body.bytes = read('bytes', size, texts.SIZE_WANTED) || undefined;
  if ($('name').value.trim()) body.name = $('name').value.trim();
  for (const id of ['attempts', 'seed', 'budget']) {
    if ($(id).value && !$(id).closest('[hidden]')) body[id] = Number($(id).value);
  }
  return body;
}

function changed() {
  key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  checking?.abort();
  const abort = (checking = new AbortController());
  const body = submission();
  if (!(body.file || body.text?.trim())) return verdict();
  setTimeout(async () => {
    if (abort.signal.aborted) return;
    try {
      const found = await post('/api/check', body, abort.signal);
      const needs = needed(found.needs);
      const can = CAN[found.kind];
      verdict(make('p', { class: 'right' }, needs ? fill(texts.CAN_AND_NEEDS, { can, needs }) : can),
        ...found.notes.map((note) => make('p', { class: 'soft' }, note)));
      for (const node of document.querySelectorAll('.of-search')) node.hidden = found.kind !== 'search';
    } catch (error) {
      if (error.name !== 'AbortError') wrong(error);
    }
  }, 400);
}

/** Says what has become of the check, and marks a line if that is where it fails. */
function verdict(...nodes) {
  $('mark').hidden = true;
  $('text').removeAttribute('aria-invalid');
  $('verdict').replaceChildren(...nodes);
}

function wrong(error) {
  if (!(error instanceof Refusal)) throw error;
  verdict(make('p', { class: 'wrong' }, error.message));
  if (error.hint) $('verdict').append(make('p', { class: 'soft' }, fill(texts.HINT, { hint: error.hint })));
  const [, file, line, column] = error.message.match(/^(\S*?):(\d+):(\d+): /m) ?? [];
  const here = source() === 'file' ? $('file').value : $('save-as').value.trim();
  // A task's file can be wrong too, and is not what is shown.
  if (!line || file.split('/').pop() !== here.split('/').pop()) return;
  $('text').setAttribute('aria-invalid', 'true');
  $('mark').hidden = false;
  $('mark').dataset.line = line;
  $('text').onscroll();
  $('verdict').append(make('p', {}, button(fill(texts.GO_TO_LINE, { line }), () => goTo(line, column))));
}

function goTo(line, column) {
  const before = $('text').value.split('\n').slice(0, line - 1).map((one) => `${one}\n`).join('');
  const place = before.length + Number(column) - 1;
  $('text').focus();
  $('text').setSelectionRange(place, place);
  $('text').scrollTop = LINE * (line - 5);
}

const chooses = (field) => field === $('file') || field.name === 'source';

$('form').oninput = ({ target }) => {
  if (target === $('text')) drawNumbers();
  if (!chooses(target)) changed();
};

$('form').onchange = ({ target }) => {
  if (chooses(target)) drawSource().catch(complain);
};

$('form').onsubmit = async (event) => {
  event.preventDefault();
  checking?.abort();
  $('send').disabled = true;
  try {
    const job = await post('/api/jobs', submission());
    hear(job);
    $('form').reset();
    location.hash = `#/job/${job.id}`;
  } catch (error) {
    wrong(error);
    $('verdict').scrollIntoView({ block: 'center' });
  }
  $('send').disabled = false;
};

// The one page of `evomerge serve`: which view is shown, and when it is drawn.
//
// The page keeps what the server last said of each job, draws it a few times a second at most, and asks for the rest
// (log, chart, events) only of the job that is shown. What the server says is put into it as text, never as HTML.

import { $ } from './elements.js';
import { openForm } from './form.js';
import { closeJob, drawJob, openJob } from './job.js';
import { drawQueue } from './queue.js';
import { complain, live } from './server.js';
import { texts } from './texts.js';

let due = null;

/** Draws the view that is shown, soon. */
function redraw() {
  due ??= setTimeout(() => {
    due = null;
    if (!$('queue').hidden) drawQueue();
    if (!$('job').hidden) drawJob();
  }, 150);
}
document.addEventListener('news', redraw);
// Time passes for what runs.
setInterval(redraw, 1000);

function navigate(event) {
  const [, name = '', id] = location.hash.split('/');
  const view = ['job', 'submit'].includes(name) ? name : 'queue';
  closeJob();
  for (const other of ['queue', 'job', 'submit']) $(other).hidden = other !== view;
  for (const other of ['queue', 'submit']) {
    $(`to-${other}`).setAttribute('aria-current', other === view ? 'page' : 'false');
  }
  document.title = view === 'submit' ? `${texts.SUBMIT_A_JOB} – evomerge` : 'evomerge';
  if (view === 'job') {
    openJob(Number(id));
    drawJob();
  }
  if (view === 'queue') drawQueue();
  if (view === 'submit') openForm().catch(complain);
  // Not when the page is opened, only when one goes about in it.
  if (event) $(`${view}-title`).focus();
}

addEventListener('hashchange', navigate);
navigate();
live();

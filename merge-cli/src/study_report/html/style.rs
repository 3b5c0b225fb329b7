//! How the page looks, by day and by night.

/// The style sheet. Orange and blue are told apart by all eyes.
pub(crate) const CSS: &str = "
:root { color-scheme: light dark; --paper: #fbfbfa; --sheet: #fff; --ink: #1d1f23; --soft: #666b75; --line: #e3e4e8;
  --blue: #2563c4; --orange: #d2691e; --band: #2563c41f; --shade: #f2f3f5; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --sheet: #1c1f25; --ink: #e7e9ee; --soft: #989eaa; --line: #30343d; --blue: #75a7f5;
    --orange: #f0a35e; --band: #75a7f52b; --shade: #262a32; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans',
  sans-serif; }
header, nav, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 12px; }
h3 { font-size: 14px; margin: 20px 0 6px; }
p { margin: 0 0 10px; max-width: 75ch; }
.about, footer, small, .hint { color: var(--soft); }
.hint { font-size: 13px; }
.note { border-left: 3px solid var(--orange); padding-left: 12px; }
.verdict { margin: 0 0 14px; padding-left: 20px; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin: 20px 0; }
.tile { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 26px; font-variant-numeric: tabular-nums; line-height: 1.2; }
.tile span, .tile small { display: block; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; padding-bottom: 12px; font-size: 14px; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
section { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin-bottom: 20px;
  overflow-x: auto; }
footer { font-size: 13px; padding-bottom: 40px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: left; font-weight: 600; vertical-align: bottom; padding: 4px 18px 6px 0; }
th small { display: block; font-weight: 400; }
td { padding: 4px 18px 4px 0; border-top: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; }
tr.group td { color: var(--soft); font-size: 12px; border-top: 0; padding-top: 12px; }
tr.evolved td { font-weight: 600; background: var(--band); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--shade); border-radius: 8px; padding: 14px 16px; overflow-x: auto; font-size: 13px; line-height: 1.45; }
summary { cursor: pointer; color: var(--blue); margin-top: 8px; }
svg { display: block; max-width: 100%; height: auto; font-size: 12px; fill: var(--ink); }
svg.inline { display: inline; max-width: none; vertical-align: -2px; margin-right: 10px; }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
svg .best { stroke: var(--blue); fill: none; stroke-width: 2; } svg .mean { stroke: var(--orange); fill: none; stroke-width: 2; }
svg .parent { stroke: var(--orange); fill: none; stroke-width: 2; }
svg .random { stroke: var(--soft); fill: none; stroke-width: 1.5; stroke-dasharray: 4 4; }
svg .band { fill: var(--band); stroke: none; } svg .bar { stroke: var(--blue); stroke-width: 1.2; opacity: 0.55; }
svg .dot { fill: var(--blue); } svg .faint { fill: var(--soft); opacity: 0.45; } svg .win { fill: var(--orange); }
svg .gain { fill: var(--blue); } svg .loss { fill: var(--orange); } svg .cell { fill: var(--shade); }
svg .route { stroke: var(--orange); stroke-width: 2.5; fill: none; stroke-linejoin: round; }
svg .node { fill: var(--sheet); stroke: var(--blue); stroke-width: 2; } svg .tiny { font-size: 10px; }
@media print { section { break-inside: avoid; } nav { display: none; } }
";

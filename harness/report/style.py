"""The look of a report: one column, figures aligned, light, dark and paper from the same names."""

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1d21; --muted: #646a73; --rule: #e2e4e8; --faint: #f5f6f8;
  --good: #1d5fb4; --added: #e6f0fb; --removed: #f7ece6; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e4e6ea; --muted: #979da7; --rule: #2d3138; --faint: #1c1f24;
  --good: #7db2f2; --added: #1a2a3d; --removed: #33241c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 22px; line-height: 1.25; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 15px; font-weight: 600; margin: 0 0 8px; padding-top: 12px; border-top: 1px solid var(--ink); }
section { margin-top: 40px; }
p { margin: 0 0 8px; max-width: 86ch; overflow-wrap: anywhere; text-wrap: pretty; }
.kicker, .note, footer { color: var(--muted); font-size: 13px; }
.kicker { margin: 0 0 2px; max-width: none; white-space: pre-wrap; }
.origin { margin: 14px 0 0; padding: 6px 12px; border: 1px solid var(--ink); font-weight: 600; width: fit-content; }
.lead { font-size: 18px; line-height: 1.45; margin: 16px 0 8px; max-width: 70ch; }
dl { margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
dt { color: var(--muted); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 14px 24px; margin-top: 20px; }
.figures dt { font-size: 12px; }
.figures dd { font-size: 15px; }
.facts { display: grid; grid-template-columns: minmax(110px, max-content) minmax(0, 1fr); gap: 3px 20px; font-size: 13px; margin: 8px 0; }
.facts dd { max-width: 100ch; white-space: pre-line; }
.wide { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13px; min-width: 50%; }
.full { width: 100%; }
th { text-align: left; font-weight: 500; font-size: 12px; color: var(--muted); vertical-align: bottom; }
th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
td { vertical-align: top; overflow-wrap: break-word; }
.rounds td:nth-child(3) { min-width: 24ch; } .rounds td:last-child { min-width: 18ch; }
.n { text-align: right; white-space: nowrap; }
td:first-child, .verdict, .id { white-space: nowrap; }
.good, .verdict.good { color: var(--good); font-weight: 600; }
a { color: inherit; text-decoration-color: var(--muted); text-underline-offset: 2px; }
figure { margin: 4px 0 16px; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 640px; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { font-size: 12px; color: var(--muted); white-space: pre-wrap; }
.dumbbell { width: 120px; height: 14px; display: block; margin-top: 3px; }
.track { stroke: var(--rule); } .span { stroke: var(--muted); stroke-width: 1.4; }
.ring { fill: var(--paper); stroke: var(--muted); stroke-width: 1.3; } .disc { fill: var(--good); }
details { border-bottom: 1px solid var(--rule); padding: 5px 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { font-weight: 600; margin-right: 8px; }
.aside { color: var(--muted); margin-left: 12px; }
code, pre { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--faint); padding: 10px 12px; margin: 8px 0; overflow-x: auto; }
ins, del { text-decoration: none; display: inline-block; min-width: 100%; }
ins { background: var(--added); } del { background: var(--removed); } .meta { color: var(--muted); }
footer { margin-top: 48px; }
@media (max-width: 640px) { main { padding: 20px 14px 40px; } .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 6px; } }
@media print { :root { --paper: #ffffff; --ink: #000000; --muted: #555555; --rule: #cccccc; --faint: #f5f5f5; --good: #1d5fb4; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } .lead { font-size: 13pt; } section { margin-top: 20pt; }
  .wide, figure { overflow: visible; } figure svg { min-width: 0; } table { font-size: 8.5pt; } th, td { padding-right: 8pt; }
  thead { display: table-header-group; } tr, figure, .figures div { break-inside: avoid; } h2, .note { break-after: avoid; }
  .rounds td:nth-child(3), .rounds td:last-child { min-width: 0; }
  pre { white-space: pre-wrap; } @page { margin: 16mm 14mm; } }
"""

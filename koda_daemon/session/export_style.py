"""How an exported page looks: light and dark, wide and narrow, on paper."""

STYLE = """
:root { color-scheme: light dark; --fg: #1f2328; --dim: #656d76; --bg: #fff; --soft: #f6f7f9; --line: #dfe2e7;
  --user: #0b62c4; --koda: #7a3fb5; --bad: #c0262d; --add: #e2f6e6; --del: #fde6e6; --mark: #fff3c4; }
@media (prefers-color-scheme: dark) { :root { --fg: #e4e7ea; --dim: #98a1ab; --bg: #16191d; --soft: #1f2429;
  --line: #343b43; --user: #6cb0ff; --koda: #c79bf2; --bad: #ff7b80; --add: #15351f; --del: #47191c;
  --mark: #4d4215; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; font: 15px/1.55 system-ui, sans-serif; color: var(--fg); background: var(--bg); display: flex; }
nav { width: 21rem; flex: none; height: 100vh; position: sticky; top: 0; overflow: auto; padding: 1rem .5rem;
  background: var(--soft); border-right: 1px solid var(--line); font-size: 13px; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav li { margin-left: calc(var(--d) * .8rem); padding: .05rem .5rem; border-left: 2px solid transparent; }
nav li.on { border-left-color: var(--line); } nav li.head { border-left-color: var(--koda); }
nav li.fork { margin-top: .75rem; } nav ol:first-child > li:first-child { margin-top: 0; }
nav li.user { padding-top: .3rem; } nav li.user a { font-weight: 600; }
nav li.toolResult a, nav li.assistant a { color: var(--dim); } nav li.toolResult { padding-left: 1.25rem; }
nav li:not(.on) { opacity: .75; }
nav a { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--fg);
  text-decoration: none; }
nav a:hover { color: var(--user); }
:focus-visible { outline: 2px solid var(--user); outline-offset: 1px; border-radius: 2px; }
nav a:focus-visible { outline-offset: -1px; } main:focus { outline: 0; }
.skip { position: absolute; left: -99rem; z-index: 1; padding: .5rem 1rem; background: var(--bg); }
.skip:focus { left: .5rem; top: .5rem; }
nav b, nav li.compaction a, nav li.branchSummary a { color: var(--koda); }
main { flex: 1; min-width: 0; max-width: 58rem; padding: 1.5rem 2.5rem 5rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
header { margin-bottom: 1.25rem; }
header p, .meta { color: var(--dim); font-size: 13px; margin: 0; overflow-wrap: anywhere; }
.part, nav ol { content-visibility: auto; contain-intrinsic-size: auto 70rem; }
.part { contain-intrinsic-size: auto 450rem; margin: 0 -1rem; padding: 0 1rem; }
article { border-top: 1px solid var(--line); padding: .8rem 0; }
article.on { border-top: 0; padding-top: 0; }
article.user { background: var(--soft); margin: 0 -1rem; padding: .8rem 1rem; border-radius: 6px; }
article.user + article { border-top: 0; }
article:target, article:has(> span:target) { background: var(--mark); margin: 0 -1rem; padding: .8rem 1rem; }
h2 { margin: 3rem 0 .75rem; padding-top: 1rem; font-size: 1.1rem; border-top: 3px double var(--line); }
h3 { margin: 0 0 .3rem; font-size: .8rem; font-weight: 600; color: var(--koda); } .user h3 { color: var(--user); }
h3 small, h3 mark { margin-left: .6rem; font-weight: 400; } h3 small { color: var(--dim); }
mark { background: var(--mark); color: var(--fg); border-radius: 4px; padding: 0 .4rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; } .text + .text { margin-top: .5rem; }
.forks { color: var(--dim); font-size: 13px; margin: .25rem 0 .75rem; padding-left: .75rem;
  border-left: 2px solid var(--koda); }
a { color: var(--user); }
code, pre { font-family: ui-monospace, "SF Mono", Consolas, monospace; }
code { font-size: .87em; background: var(--soft); border-radius: 4px; padding: .1em .3em; overflow-wrap: anywhere; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem;
  margin: .4rem 0; overflow: auto; max-height: 32rem; font-size: 12.5px; line-height: 1.45; white-space: pre; }
details { margin: .35rem 0; } details[open] > summary { margin-bottom: .3rem; }
summary { cursor: pointer; color: var(--dim); overflow-wrap: anywhere; } summary code { color: var(--fg); }
.bad { color: var(--bad); }
ins, del { text-decoration: none; display: block; margin: 0 -.75rem; padding: 0 .75rem; min-width: max-content; }
ins { background: var(--add); } del { background: var(--del); }
img { max-width: 100%; border: 1px solid var(--line); border-radius: 6px; }
@media (max-width: 60rem) { body { display: block; } nav { position: static; width: auto; height: auto;
  max-height: 35vh; border-right: 0; border-bottom: 1px solid var(--line); } main { padding: 1rem 1.25rem 3rem; } }
@media print { nav { display: none; } .part { content-visibility: visible; } main { max-width: none; padding: 0; }
  .part, article.user { margin: 0; padding-left: 0; padding-right: 0; } .skip { display: none; }
  pre { max-height: none; white-space: pre-wrap; } }
"""

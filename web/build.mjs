// Makes the page: one HTML file with its script and style in it, compressed, and the content policy that allows exactly
// those two. `node build.mjs` writes them to bundle/, where the program's build finds them; `--check` says whether what
// lies there is what the sources give.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync, mkdirSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = new URL('.', import.meta.url).pathname;
const kMost = 120 * 1024; // bytes, compressed

const result = await build({
  absWorkingDir: here,
  entryPoints: ['src/main.tsx'],
  bundle: true,
  minify: true,
  write: false,
  outdir: 'out',
  format: 'iife',
  target: ['chrome120', 'firefox120', 'safari17'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  charset: 'utf8',
  logLevel: 'warning',
});
const text = (ending) => result.outputFiles.find((file) => file.path.endsWith(ending)).text.trim();
// Inside a script element only "</script" and "<!--" end or change what is script.
const program = text('.js').replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
// It begins once the page's first frame has been drawn, which shows more than nothing; where no frame is drawn, as nobody
// looks, without one.
const script =
  `{let begun=false;const begin=()=>{if(begun)return;begun=true;${program}};` +
  `if(document.hidden)begin();else{requestAnimationFrame(()=>setTimeout(begin));setTimeout(begin,1000)}}`;
const style = text('.css');
const hash = (content) => `'sha256-${createHash('sha256').update(content).digest('base64')}'`;
const policy =
  `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; img-src data: blob:; ` +
  `connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
const html = readFileSync(`${here}src/page.html`, 'utf8')
  .replace('<!--style-->', () => `<style>${style}</style>`)
  .replace('<!--script-->', () => `<script>${script}</script>`);

// Compressors differ from one version of Node.js to the next: what lies there is compared uncompressed.
const page = `${here}bundle/page.html.gz`;
const rules = `${here}bundle/policy.txt`;
if (process.argv.includes('--check')) {
  const stands = gunzipSync(readFileSync(page)).toString() === html && readFileSync(rules, 'utf8') === policy;
  const size = readFileSync(page).length;
  if (!stands) console.error('web/bundle is not what web/src gives: run `npm run build` in web/ and commit it');
  if (size > kMost) console.error(`web/bundle/page.html.gz has ${size} bytes; ${kMost} are allowed`);
  process.exit(stands && size <= kMost ? 0 : 1);
}
mkdirSync(`${here}bundle`, { recursive: true });
const compressed = gzipSync(html, { level: 9 });
writeFileSync(page, compressed);
writeFileSync(rules, policy);
console.log(`${page}: ${html.length} characters, ${compressed.length} bytes compressed`);

// What is committed and embedded is what the sources give. Skipped where npm's packages of web/ are missing.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const web = new URL('../../web/', import.meta.url).pathname;
if (!existsSync(`${web}node_modules/esbuild`)) {
  console.log('skipped: the npm packages of web/ are missing (./dev setup fetches them)');
  process.exit(77);
}
for (const command of [['node_modules/typescript/bin/tsc', '--noEmit'], ['build.mjs', '--check']]) {
  const { status } = spawnSync(process.execPath, command, { cwd: web, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

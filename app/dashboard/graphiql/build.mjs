// Bundles GraphiQL and its three workers into dist/, with hashed names so that browsers may keep them for ever.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { build } from 'esbuild';

const [, , outdir = 'dist'] = process.argv;
const shared = {
  bundle: true,
  minify: true,
  metafile: true,
  outdir,
  entryNames: '[name]-[hash]',
  chunkNames: 'chunk-[hash]',
  assetNames: '[name]-[hash]',
  legalComments: 'none',
  logLevel: 'error',
  target: ['chrome111', 'firefox114', 'safari16.4'],
  define: { 'process.env.NODE_ENV': '"production"' },
};

/** The file name that each entry was written to, by the entry's own name. */
function written({ metafile }) {
  const outputs = Object.entries(metafile.outputs).filter(([, output]) => output.entryPoint);
  return Object.fromEntries(
    outputs.map(([file, output]) => [basename(output.entryPoint), { ...output, file: basename(file) }]),
  );
}

const workers = written(
  await build({
    ...shared,
    format: 'iife',
    entryPoints: [
      'monaco-editor/esm/vs/editor/editor.worker.js',
      'monaco-editor/esm/vs/language/json/json.worker.js',
      'monaco-graphql/esm/graphql.worker.js',
    ],
  }),
);

const page = written(
  await build({
    ...shared,
    format: 'esm',
    splitting: true,
    jsx: 'automatic',
    loader: { '.ttf': 'file', '.graphql': 'text' },
    entryPoints: ['main.jsx'],
    define: {
      ...shared.define,
      EDITOR_WORKER: JSON.stringify(workers['editor.worker.js'].file),
      JSON_WORKER: JSON.stringify(workers['json.worker.js'].file),
      GRAPHQL_WORKER: JSON.stringify(workers['graphql.worker.js'].file),
    },
  }),
)['main.jsx'];

const template = await readFile('index.html', 'utf8');
const files = await readdir(outdir);
// esbuild leaves the styles of what is loaded later in files that nothing loads, so the page loads them all.
const styles = files.filter((file) => file.endsWith('.css')).map((file) => `<link rel="stylesheet" href="graphql/assets/${file}" />`);
await writeFile(`${outdir}/index.html`, template.replace('MAIN_SCRIPT', page.file).replace('STYLES', styles.join('\n    ')));

const compress = promisify(gzip);
const compressed = files.filter((file) => /\.(js|css)$/.test(file));
await Promise.all(
  compressed.map(async (file) => writeFile(`${outdir}/${file}.gz`, await compress(await readFile(`${outdir}/${file}`)))),
);

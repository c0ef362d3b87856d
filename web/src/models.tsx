// The models that the server has: what each is, what it would do here, and which are loaded.
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { announce } from './announce';
import { getJson, Listed, postJson } from './api';
import { bytes, count, rate } from './format';
import { isFolder, model, modelName, plan, predicted } from './live';

const list = signal<Listed[]>([]);
const problem = signal('');

async function look(): Promise<void> {
  try {
    const now = (await getJson<{ models: Listed[] }>('/api/loadline/models')).models;
    if (JSON.stringify(now) !== JSON.stringify(list.value)) list.value = now;
  } catch {
    // it is asked again
  }
}

async function change(name: string, what: 'load' | 'unload'): Promise<void> {
  problem.value = '';
  list.value = list.value.map((one) => (one.name === name ? { ...one, state: what === 'load' ? 'loading' : 'unloading' } : one));
  try {
    await postJson(`/models/${what}`, { model: name });
    announce(`${name} is ${what}ed`, true);
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
  await look();
}

const cancel = () => void postJson('/api/loadline/cancel', {}).catch(() => undefined);

function Here({ one }: { one: Listed }) {
  if (one.unusable) return <span class="error">{one.unusable}</span>;
  if (!one.fit) return <span class="stats">not looked at yet</span>;
  if (!one.fit.fits) return <span class="error">does not fit: {one.fit.why_not}</span>;
  const where = one.fit.vram > 0 ? `${bytes(one.fit.vram)} graphics, ${bytes(one.fit.ram)} RAM` : `${bytes(one.fit.ram)} RAM`;
  return (
    <>
      {rate(one.fit.generation_rate)} tok/s <span class="stats">{where}</span>
    </>
  );
}

function Action({ one }: { one: Listed }) {
  if (one.state === 'loading') {
    return (
      <span class="row">
        <progress aria-label={`Loading ${one.name}`} max={one.to_load || 1} value={one.to_load ? one.loaded : 0} />
        <button type="button" aria-label={`Cancel loading ${one.name}`} onClick={cancel}>
          Cancel
        </button>
      </span>
    );
  }
  if (one.state === 'unloading') return <span class="stats">unloads once its answers are given</span>;
  if (one.unusable) return null;
  const loaded = one.state === 'loaded';
  return (
    <button type="button" class={loaded ? '' : 'main'} aria-label={`${loaded ? 'Unload' : 'Load'} ${one.name}`} onClick={() => void change(one.name, loaded ? 'unload' : 'load')}>
      {loaded ? 'Unload' : 'Load'}
    </button>
  );
}

function Only() {
  const made = plan.value;
  return (
    <p>
      This server has one model, {modelName}
      {made ? `: ${bytes(made.model.bytes)}, ${made.model.architecture}, ${model.value?.quantization ?? ''}` : ''} · {rate(predicted.value?.generation ?? 0)} tok/s predicted.{' '}
      <span class="stats">
        <code>loadline serve --models FOLDER</code> has all of a folder.
      </span>
    </p>
  );
}

export function Models() {
  useEffect(() => {
    void look();
    let rounds = 0;
    const timer = window.setInterval(() => {
      const moves = list.value.some((one) => one.state === 'loading' || one.state === 'unloading');
      if (!document.hidden && (moves || ++rounds % 3 === 0)) void look();
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="view">
      <h2>Models</h2>
      {problem.value && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      {!isFolder.value ? (
        <Only />
      ) : (
        <table class="models">
          <thead>
            <tr>
              <th scope="col">model</th>
              <th scope="col">what it is</th>
              <th scope="col">here</th>
              <th scope="col">loaded</th>
            </tr>
          </thead>
          <tbody>
            {list.value.map((one) => (
              <tr key={one.name}>
                <th scope="row">
                  {one.name}
                  {one.name === modelName.value ? <span class="stats"> talked with</span> : null}
                </th>
                <td>
                  {bytes(one.size)}
                  <span class="stats">
                    {one.quantization ? ` ${one.quantization}` : ''}
                    {one.architecture ? ` · ${one.architecture}` : ''}
                    {one.trained_context ? ` · context ${count(one.trained_context)}` : ''}
                  </span>
                </td>
                <td>
                  <Here one={one} />
                </td>
                <td>
                  <Action one={one} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}

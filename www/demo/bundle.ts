/** An own bundle, chosen or dropped as files, and what this page keeps on the machine. */

import { cacheStatus, clearCache } from '../src/index.ts';
import { byId, megabytes } from './dom.ts';
import { showError } from './errors.ts';
import { useModel } from './loading.ts';
import { clearPage, pageBytes } from './offline.ts';

/** Wires the drop zone, the two pickers and the button that clears. */
export function startBundle(): void {
  pick('pick-files', byId<HTMLInputElement>('bundle-files'));
  pick('pick-folder', byId<HTMLInputElement>('bundle-folder'));
  byId('back-to-mini').addEventListener('click', () => useModel(undefined));
  const zone = byId('drop');
  // Beside the zone, a dropped file would replace the page.
  for (const type of ['dragover', 'drop'] as const) {
    document.addEventListener(type, (event) => event.dataTransfer?.types.includes('Files') && event.preventDefault());
  }
  document.addEventListener('dragover', (event) => zone.classList.toggle('over', zone.contains(event.target as Node)));
  document.addEventListener('dragleave', () => zone.classList.remove('over'));
  zone.addEventListener('drop', (event) => {
    zone.classList.remove('over');
    // Entries, which folders need, must be taken before the event ends.
    const entries = [...(event.dataTransfer?.items ?? [])].flatMap((item) => item.webkitGetAsEntry() ?? []);
    if (entries.length === 0) take([...(event.dataTransfer?.files ?? [])]);
    else Promise.all(entries.map(filesIn)).then((found) => take(found.flat()), showError);
  });
  byId('clear-storage').addEventListener('click', () => void clear());
}

function pick(buttonId: string, input: HTMLInputElement): void {
  byId(buttonId).addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    take([...(input.files ?? [])]);
    input.value = '';
  });
}

function take(files: File[]): void {
  if (files.length > 0) useModel(files);
}

/** The file, or the files of the folder. */
async function filesIn(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    return [await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: File[] = [];
  for (;;) {
    const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return files;
    files.push(...(await Promise.all(batch.map(filesIn))).flat());
  }
}

/** How much is kept, and what for. */
export async function showStorage(): Promise<void> {
  const entries = await cacheStatus().catch(() => []);
  const models = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  const page = await pageBytes();
  byId('storage-text').textContent =
    models + page === 0
      ? 'Nothing is kept on this machine.'
      : `Kept on this machine: ${megabytes(page)} of page and model for offline use${models > 0 ? `, ${megabytes(models)} of other models` : ''}.`;
  byId<HTMLButtonElement>('clear-storage').disabled = models + page === 0;
}

async function clear(): Promise<void> {
  try {
    await Promise.all([clearCache(), clearPage()]);
  } catch (error) {
    showError(error);
  }
  await showStorage();
}

/** One file of a repository into the cache: resumed where an earlier try broke off, and checked before it gets its name. */
import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { copyFile, open, readdir, rename, rm, stat, symlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { fatal, usage } from '../../errors.js';
import { writeFully } from '../files/atomicFile.js';
import { fileError, readBytes } from '../files/byteSource.js';
import { makeDirectory } from '../files/makeDirectory.js';
import { repoFolders, repoTitle, repoUrls } from './repo.js';
import type { Repo } from './repo.js';
import { again, requested } from './request.js';
import type { HubSettings } from './settings.js';

/** What the Hub says about a file before it sends it. */
interface FileFacts {
  /** SHA-256 of the content for large files, git's SHA-1 for others; the blob's name in the cache. */
  readonly etag: string;
  readonly bytes: number;
}

const exists = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );

const plainTag = (header: string | null): string => (header ?? '').replace(/^W\//, '').replace(/^"|"$/g, '');

const askFacts = (repo: Repo, commit: string, path: string, settings: HubSettings): Promise<FileFacts> => {
  const what = `${repoTitle(repo)}: ${path}`;
  const url = repoUrls(settings.endpoint, repo).file(commit, path);
  return requested(
    () => ({ url, method: 'HEAD', what }),
    settings,
    ({ headers }) => {
      const etag = plainTag(headers.get('x-linked-etag') ?? headers.get('etag'));
      const size = headers.get('x-linked-size') ?? headers.get('content-length') ?? '';
      // The tag becomes a file's name.
      if (!/^\w[\w.-]{0,127}$/.test(etag) || !/^\d+$/.test(size)) {
        throw fatal('E_HUB_ANSWER', `${what}: the answer has no usable etag and size`, {
          expected: 'headers x-linked-etag or etag, x-linked-size or content-length',
          actual: `etag ${JSON.stringify(etag)}, size ${JSON.stringify(size)}`,
          hint: 'is HF_ENDPOINT a Hub, or a proxy in front of one?',
        });
      }
      return Promise.resolve({ etag, bytes: Number(size) });
    },
  );
};

/** The hash that the etag is, if it is one. */
const hashOf = ({ etag, bytes }: FileFacts): Hash | undefined => {
  if (/^[0-9a-f]{64}$/.test(etag)) return createHash('sha256');
  return /^[0-9a-f]{40}$/.test(etag) ? createHash('sha1').update(`blob ${bytes}\0`) : undefined;
};

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EPERM';
  }
};

let claimed = 0;

/**
 * A file of this process's own to download into, begun with what an earlier try has left. Renaming is what claims: of two
 * processes one gets the leftover, and the other begins anew.
 */
const claim = async (blob: string): Promise<string> => {
  const mine = `${blob}.${process.pid}-${claimed++}.incomplete`;
  const prefix = `${basename(blob)}.`;
  for (const name of await readdir(dirname(blob))) {
    if (!name.startsWith(prefix) || !name.endsWith('.incomplete')) continue;
    const [, pid] = /^(\d+)-\d+\.incomplete$/.exec(name.slice(prefix.length)) ?? [];
    if (pid !== undefined && isRunning(Number(pid))) continue;
    // Those with another kind of name between are being written by the Python library.
    if (pid === undefined && name !== `${prefix}incomplete`) continue;
    const taken = await rename(join(dirname(blob), name), mine).then(
      () => true,
      () => false,
    );
    if (taken) break;
  }
  return mine;
};

const corrupt = (what: string, expected: string, actual: string) =>
  fatal('E_HUB_CORRUPT', `${what}: what arrived is not what the Hub has`, {
    expected,
    actual,
    hint: 'try again; if it persists, something between here and the Hub changes the data',
  });

/** Appends the file's content from where `handle` ends, until it is whole. */
const filled = async (
  handle: FileHandle,
  facts: FileFacts,
  asked: { readonly url: string; readonly what: string },
  settings: HubSettings,
): Promise<void> => {
  const { bytes } = facts;
  let have = (await handle.stat()).size;
  const restart = async (): Promise<void> => {
    await handle.truncate(0);
    have = 0;
  };
  if (have > bytes) await restart();
  if (have === bytes) return;
  await requested(
    () => ({
      ...asked,
      leaves: true,
      headers: have === 0 ? {} : { range: `bytes=${have}-` },
    }),
    settings,
    async (response, progressed) => {
      if (response.status === 416) {
        await response.body?.cancel();
        await restart();
        throw again('HTTP 416');
      }
      const from = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
      if (response.status !== 206) await restart();
      else if (from !== String(have)) {
        await response.body?.cancel();
        await restart();
        throw again('the Hub sent another part of the file');
      }
      for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
        if (have + chunk.length > bytes) throw corrupt(asked.what, `${bytes} bytes`, 'more');
        await writeFully(handle, chunk, have);
        have += chunk.length;
        progressed();
      }
      if (have < bytes) throw again('the connection ended early');
    },
  );
};

const verified = async (path: string, facts: FileFacts, what: string): Promise<void> => {
  const hash = hashOf(facts);
  if (hash === undefined) return;
  for await (const chunk of readBytes(path, { chunkBytes: 1 << 20, raw: true })) hash.update(chunk);
  const actual = hash.digest('hex');
  if (actual !== facts.etag) throw corrupt(what, facts.etag, actual);
};

const fetchBlob = async (
  repo: Repo,
  commit: string,
  path: string,
  facts: FileFacts,
  settings: HubSettings,
): Promise<string> => {
  const blob = repoFolders(settings.cacheDir, repo).blob(facts.etag);
  if (await exists(blob)) return blob;
  await makeDirectory(dirname(blob));
  const what = `${repoTitle(repo)}: ${path}`;
  const partial = await claim(blob);
  try {
    for (let attempt = 0; ; attempt++) {
      const handle = await open(partial, 'a+').then(async (made) => {
        await made.close();
        return await open(partial, 'r+');
      });
      try {
        settings.onDownload?.({ repo: repo.id, path, bytes: facts.bytes, from: (await handle.stat()).size });
        await filled(handle, facts, { url: repoUrls(settings.endpoint, repo).file(commit, path), what }, settings);
        await handle.sync();
      } finally {
        await handle.close();
      }
      try {
        await verified(partial, facts, what);
        break;
      } catch (error) {
        await rm(partial, { force: true });
        // What an earlier try has left may be the damaged part: once more from the start.
        if (attempt > 0) throw error;
      }
    }
  } catch (error) {
    // Under this name any later run finds it, whoever it is.
    await rename(partial, `${blob}.incomplete`).catch(() => undefined);
    throw error;
  }
  await rename(partial, blob);
  return blob;
};

/** Puts `blob` into the snapshot under the file's own name: a relative link, or a copy where links are not allowed. */
const pointed = async (blob: string, pointer: string): Promise<void> => {
  await makeDirectory(dirname(pointer));
  try {
    await symlink(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    if (await exists(pointer)) return;
    // A link that leads nowhere is in the way.
    await rm(pointer, { force: true });
    await symlink(relative(dirname(pointer), blob), pointer).catch(() => copyFile(blob, pointer));
    if (!(await exists(pointer))) throw error;
  }
};

/** The path in the snapshot of one file of a commit, which is downloaded unless it is there. */
export const ensureFile = async (repo: Repo, commit: string, path: string, settings: HubSettings): Promise<string> => {
  const pointer = join(repoFolders(settings.cacheDir, repo).snapshot(commit), ...path.split('/'));
  if (await exists(pointer)) return pointer;
  if (settings.offline) {
    throw usage('E_HUB_NOT_CACHED', `${repoTitle(repo)}: ${path} is not in the cache`, {
      file: pointer,
      hint: 'HF_HUB_OFFLINE forbids to download it: unset it, or copy the cache from a machine that has the file',
    });
  }
  const facts = await askFacts(repo, commit, path, settings);
  try {
    await pointed(await fetchBlob(repo, commit, path, facts, settings), pointer);
  } catch (error) {
    throw fileError(pointer, error);
  }
  return pointer;
};

/** Writes a small file of the cache, whole or not at all. */
export const writeSmall = async (path: string, text: string): Promise<void> => {
  await makeDirectory(dirname(path));
  const temporary = `${path}.${process.pid}-${claimed++}.tmp`;
  const handle = await open(temporary, 'wx');
  try {
    await writeFully(handle, Buffer.from(text));
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
};

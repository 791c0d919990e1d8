/** A Hub in small on the loopback: the paths, headers, redirects and refusals of the real one, and faults on demand. */
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { addressOf, closed, listen } from './loopback.js';

export interface HubFile {
  readonly content: Uint8Array;
  /** Kept at another host, as large files are. */
  readonly lfs?: boolean;
  /** In place of the content's own hash. */
  readonly etag?: string;
}

export interface HubRepo {
  readonly files: Readonly<Record<string, HubFile>>;
  readonly commit?: string;
  /** What the branch that the Hub converts into holds. */
  readonly converted?: Readonly<Record<string, HubFile>>;
  /** Seen with this token only. */
  readonly token?: string;
  readonly gated?: boolean;
  /** The names `siblings` has, where they are not those of the files. */
  readonly listed?: ReadonlyArray<string>;
  /** Answers with a redirect to this name. */
  readonly movedTo?: string;
}

export interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly host: 'hub' | 'cdn';
}

/** What goes wrong with the next bodies: each is used up by one answer. */
export type Fault =
  /** `once`: when the content up to `end` has got where the test wants it. Default: after a moment. */
  | { readonly cutAfter: number; readonly once?: (end: number) => Promise<void> }
  | { readonly status: number }
  | { readonly flipped: true }
  | { readonly ignoreRange: true };

export const commitOf = (text: string): string => createHash('sha1').update(text).digest('hex');

export const etagOf = ({ content, lfs = false, etag }: HubFile): string =>
  etag ??
  (lfs
    ? createHash('sha256').update(content).digest('hex')
    : createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex'));

export interface HubServer {
  readonly endpoint: string;
  readonly requests: Array<Request>;
  /** For bodies of GET requests to files, in order. */
  readonly faults: Array<Fault>;
  readonly close: () => Promise<void>;
}

/** `repos` by `models/owner/name` or `datasets/owner/name`. */
export const hubServer = async (repos: Readonly<Record<string, HubRepo>>): Promise<HubServer> => {
  const requests: Array<Request> = [];
  const faults: Array<Fault> = [];
  const blobs = new Map<string, Uint8Array>();
  const noted = (host: Request['host'], { method = '', url = '', headers }: IncomingMessage): void =>
    void requests.push({ method, url, headers, host });

  const body = (request: IncomingMessage, response: ServerResponse, content: Uint8Array, headers: object): void => {
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...headers, 'content-length': content.length }).end();
      return;
    }
    const fault = faults.shift();
    if (fault !== undefined && 'status' in fault) {
      response.writeHead(fault.status).end();
      return;
    }
    const range = fault !== undefined && 'ignoreRange' in fault ? undefined : request.headers.range;
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    if (from >= content.length && content.length > 0) {
      response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
      return;
    }
    let part = content.subarray(from);
    if (fault !== undefined && 'flipped' in fault) part = Uint8Array.from(part, (byte) => byte ^ 1);
    response.writeHead(range === undefined ? 200 : 206, {
      ...headers,
      'content-length': part.length,
      ...(range === undefined ? {} : { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    if (fault !== undefined && 'cutAfter' in fault) {
      const { once = () => new Promise<void>((done) => setTimeout(done, 20)) } = fault;
      response.write(
        part.subarray(0, fault.cutAfter),
        () => void once(from + fault.cutAfter).then(() => response.socket?.end()),
      );
    } else response.end(part);
  };

  const cdn = await listen((request, response) => {
    noted('cdn', request);
    const content = blobs.get((request.url ?? '').replace(/^\/|\?.*$/g, ''));
    if (content === undefined) response.writeHead(404).end();
    else body(request, response, content, {});
  });

  const hub = await listen((request, response) => {
    noted('hub', request);
    const path = decodeURIComponent(request.url ?? '');
    const refuse = (status: number, code: string): void =>
      void response.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json' }).end('{}');
    const [, infoKind = '', infoId = '', infoRevision = ''] =
      /^\/api\/(models|datasets)\/(.+?)\/revision\/(.+)$/.exec(path) ?? [];
    const [, fileKind, fileId = '', fileRevision = '', filePath = ''] =
      /^\/(datasets\/)?(.+?)\/resolve\/((?:refs\/[^/]+\/)?[^/]+)\/(.+)$/.exec(path) ?? [];
    const kind = infoKind || (fileKind === undefined ? 'models' : 'datasets');
    const id = infoId || fileId;
    const named = repos[`${kind}/${id}`];
    const convertedCommit = commitOf(`${id} converted`);
    const repo: HubRepo | undefined =
      named?.converted !== undefined && ['refs/convert/parquet', convertedCommit].includes(infoRevision || fileRevision)
        ? { files: named.converted, commit: convertedCommit }
        : named;
    if (repo === undefined) {
      refuse(401, 'RepoNotFound');
      return;
    }
    if (repo.token !== undefined && request.headers.authorization !== `Bearer ${repo.token}`) {
      {
        refuse(401, 'RepoNotFound');
        return;
      }
    }
    if (repo.movedTo !== undefined) {
      response.writeHead(307, { location: (request.url ?? '').replace(id, repo.movedTo) }).end();
      return;
    }
    const commit = repo.commit ?? commitOf(id);
    if (
      ![commit, 'main', ...(commit === convertedCommit ? ['refs/convert/parquet'] : [])].includes(
        infoRevision || fileRevision,
      )
    ) {
      refuse(404, 'RevisionNotFound');
      return;
    }
    if (infoId !== '') {
      const siblings = (repo.listed ?? Object.keys(repo.files)).map((rfilename) => ({ rfilename }));
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ id, sha: commit, siblings }));
      return;
    }
    if (repo.gated === true) {
      refuse(403, 'GatedRepo');
      return;
    }
    const file = repo.files[filePath];
    if (file === undefined) {
      refuse(404, 'EntryNotFound');
      return;
    }
    const etag = etagOf(file);
    const headers = { 'x-repo-commit': commit, etag: `"${etag}"`, 'accept-ranges': 'bytes' };
    if (file.lfs !== true) {
      body(request, response, file.content, headers);
      return;
    }
    blobs.set(etag, file.content);
    response
      .writeHead(302, {
        'x-repo-commit': commit,
        'x-linked-etag': `"${etag}"`,
        'x-linked-size': file.content.length,
        etag: '"pointer"',
        location: `${addressOf(cdn)}/${etag}?X-Signature=secret`,
      })
      .end();
  });

  return {
    endpoint: addressOf(hub),
    requests,
    faults,
    close: async () => {
      await closed(hub);
      await closed(cdn);
    },
  };
};

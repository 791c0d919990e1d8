/** A Hub in small on the loopback that takes uploads, by the paths that huggingface_hub and @huggingface/hub use; and faults on demand. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname } from 'node:path';
import { addressOf, closed, listen } from './loopback.js';

export interface Commit {
  readonly repo: string;
  readonly branch: string;
  readonly summary: string;
  /** Contents by path. */
  readonly files: Readonly<Record<string, Buffer>>;
}

export interface WrittenRepo {
  readonly isPrivate: boolean | undefined;
  readonly branches: Set<string>;
}

export interface HubFault {
  /** Of the request it meets, once. */
  readonly path: RegExp;
  /** Answered with this. Absent: the connection is cut. */
  readonly status?: number;
  /** What the answer says. */
  readonly error?: string;
}

export interface WritableHub {
  readonly endpoint: string;
  readonly repos: Map<string, WrittenRepo>;
  readonly commits: Array<Commit>;
  /** `METHOD path` of every request, in order; of those to the other host `PUT blob`. */
  readonly requests: Array<string>;
  /** Used up by the requests that they meet. */
  readonly faults: Array<HubFault>;
  /** While set, uploads of large files wait for it. */
  hold: Promise<void> | undefined;
  readonly close: () => Promise<void>;
}

export interface WritableHubOptions {
  /** Who asks, by token. */
  readonly users: Readonly<Record<string, string>>;
  /** Large files go in parts of so many bytes. */
  readonly partBytes?: number;
  /** Large files go as chunks of content, as the real Hub has them now; only such as no compression makes smaller. */
  readonly xet?: boolean;
}

const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Array<Buffer> = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
};

const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');

/** What the real one keeps apart by `.gitattributes`. */
const isLarge = (path: string): boolean => ['.safetensors', '.bin', '.gguf'].includes(extname(path));

/** The chunks of one upload, end to end: each has a header of 8 bytes, whose second number is its length (24 bits). */
const contentOf = (xorb: Buffer): Buffer => {
  const chunks: Array<Buffer> = [];
  for (let at = 0; at < xorb.length; ) {
    const end = at + 8 + xorb.readUIntLE(at + 1, 3);
    chunks.push(xorb.subarray(at + 8, end));
    at = end;
  }
  return Buffer.concat(chunks);
};

interface Answer {
  readonly status: number;
  readonly value: object;
}

interface Entry {
  readonly key: string;
  readonly value: {
    readonly summary?: string;
    readonly path: string;
    readonly content: string;
    readonly encoding: BufferEncoding;
    readonly oid: string;
    readonly size: number;
  };
}

export const writableHub = async ({ users, partBytes, xet = false }: WritableHubOptions): Promise<WritableHub> => {
  const repos = new Map<string, WrittenRepo>();
  const commits: Array<Commit> = [];
  const requests: Array<string> = [];
  const faults: Array<HubFault> = [];
  const blobs = new Map<string, Buffer>();
  const parts = new Map<string, Buffer>();

  const met = (path: string, request: IncomingMessage, response: ServerResponse): boolean => {
    const at = faults.findIndex((fault) => fault.path.test(path));
    const [fault] = at === -1 ? [] : faults.splice(at, 1);
    if (fault === undefined) return false;
    if (fault.status === undefined) request.socket.destroy();
    else
      response
        .writeHead(fault.status, { 'content-type': 'application/json' })
        .end(JSON.stringify(fault.error === undefined ? {} : { error: fault.error }));
    return true;
  };

  const hub: { hold: Promise<void> | undefined } = { hold: undefined };

  const chunkToken = 'a token of the store alone';
  const store = await listen((request, response) => {
    const path = request.url ?? '';
    requests.push(`${request.method ?? ''} ${xet ? path.replace(/[0-9a-f]{64}/, 'HASH') : 'blob'}`);
    if (xet) {
      void bodyOf(request).then((body) => {
        if (path.startsWith('/v1/xorbs/')) {
          const content = contentOf(body);
          blobs.set(sha256(content), content);
        }
        const allowed = request.headers.authorization === `Bearer ${chunkToken}`;
        response.writeHead(!allowed ? 401 : path.startsWith('/v1/chunks/') ? 404 : 200).end('{}');
      });
      return;
    }
    // The token is nobody's business here.
    if (request.headers.authorization !== undefined) {
      response.writeHead(400).end();
      return;
    }
    void (async () => {
      if (met(path, request, response)) return;
      const content = await bodyOf(request);
      await hub.hold;
      const [, oid = '', part] = /^\/([0-9a-f]{64})(?:\/(\d+))?$/.exec(path) ?? [];
      if (request.method === 'POST') {
        const { parts: told } = JSON.parse(content.toString()) as { readonly parts: ReadonlyArray<{ etag: string }> };
        blobs.set(oid, Buffer.concat(told.map(({ etag }) => parts.get(etag) ?? Buffer.alloc(0))));
      } else if (part === undefined) blobs.set(oid, content);
      else {
        const etag = sha256(Buffer.from(path));
        parts.set(etag, content);
        response.setHeader('etag', etag);
      }
      response.writeHead(200).end();
    })();
  });

  const whole = (oid: string): boolean => sha256(blobs.get(oid) ?? Buffer.alloc(0)) === oid;

  const uploadOf = (oid: string, size: number): object => {
    if (whole(oid)) return {};
    if (xet) {
      const header = {
        'X-Xet-Cas-Url': addressOf(store),
        'X-Xet-Access-Token': chunkToken,
        'X-Xet-Token-Expiration': String(Math.ceil(Date.now() / 1000) + 3600),
      };
      return { actions: { upload: { href: `${addressOf(server)}/refresh`, header } } };
    }
    const href = `${addressOf(store)}/${oid}`;
    if (partBytes === undefined || size <= partBytes) return { actions: { upload: { href } } };
    const count = Math.ceil(size / partBytes);
    const hrefs = Array.from({ length: count }, (_, i): [string, string] => [
      String(i + 1).padStart(5, '0'),
      `${href}/${i + 1}`,
    ]);
    return { actions: { upload: { href, header: { chunk_size: String(partBytes), ...Object.fromEntries(hrefs) } } } };
  };

  const server = await listen((request, response) => {
    const path = decodeURIComponent(request.url ?? '').replace(/\?.*$/, '');
    requests.push(`${request.method ?? ''} ${path}`);
    const json = (status: number, value: object): Answer => ({ status, value });
    const answer = (content: Buffer): Answer => {
      const user = users[(request.headers.authorization ?? '').replace(/^Bearer /, '')];
      if (user === undefined) return json(401, { error: 'Invalid username or password.' });
      const mayWrite = (id: string): boolean => id.startsWith(`${user}/`);
      if (path === '/api/whoami-v2') return json(200, { type: 'user', name: user, auth: { type: 'access_token' } });
      // huggingface_hub has cards looked at before it uploads them.
      if (path === '/api/validate-yaml') return json(200, { errors: [], warnings: [] });
      if (path === '/api/repos/create') {
        const asked = JSON.parse(content.toString()) as { name: string; organization?: string; visibility?: string };
        const id = `${asked.organization ?? user}/${asked.name}`;
        if (!mayWrite(id)) return json(403, { error: 'You have no rights under that name' });
        if (repos.has(id)) return json(409, { error: 'You already created this model repo' });
        const isPrivate = asked.visibility === undefined ? undefined : asked.visibility === 'private';
        repos.set(id, { isPrivate, branches: new Set(['main']) });
        return json(200, { url: `${addressOf(server)}/${id}`, id });
      }
      const [, batchOf] = /^\/(.+)\.git\/info\/lfs\/objects\/batch$/.exec(path) ?? [];
      const [, apiOf, action, branch = ''] =
        /^\/api\/models\/([^/]+\/[^/]+)(?:\/(branch|preupload|commit)\/(.+))?$/.exec(path) ?? [];
      const id = batchOf ?? apiOf ?? '';
      const repo = repos.get(id);
      if (repo === undefined) return json(404, { error: 'Repository not found' });
      if (action === undefined && apiOf !== undefined) return json(200, { id });
      if (!mayWrite(id)) return json(403, { error: 'You may not write here' });
      if (batchOf !== undefined) {
        const { objects } = JSON.parse(content.toString()) as { objects: Array<{ oid: string; size: number }> };
        return json(200, {
          transfer: xet ? 'xet' : 'basic',
          objects: objects.map(({ oid, size }) => ({ oid, size, ...uploadOf(oid, size) })),
        });
      }
      if (action === 'branch') {
        if (repo.branches.has(branch)) return json(409, { error: 'Reference already exists' });
        repo.branches.add(branch);
        return json(200, {});
      }
      if (!repo.branches.has(branch)) return json(404, { error: `Invalid rev id: ${branch}` });
      if (action === 'preupload') {
        const { files } = JSON.parse(content.toString()) as { files: Array<{ path: string }> };
        return json(200, {
          files: files.map((file) => ({
            path: file.path,
            uploadMode: isLarge(file.path) ? 'lfs' : 'regular',
            shouldIgnore: false,
          })),
        });
      }
      const entries = content
        .toString()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Entry);
      const files = entries.flatMap(({ key, value }) => {
        if (key === 'header') return [];
        const found = key === 'lfsFile' ? blobs.get(value.oid) : Buffer.from(value.content, value.encoding);
        return [[value.path, found] as const];
      });
      const absent = files.find(([, found]) => found === undefined);
      if (absent !== undefined) return json(400, { error: `${absent[0]} was never uploaded` });
      const [header] = entries;
      const oid = createHash('sha1').update(content).update(String(commits.length)).digest('hex');
      commits.push({
        repo: id,
        branch,
        summary: header?.value.summary ?? '',
        files: Object.fromEntries(files.map(([name, found = Buffer.alloc(0)]) => [name, found])),
      });
      return json(200, { success: true, commitOid: oid, commitUrl: `${addressOf(server)}/${id}/commit/${oid}` });
    };
    void bodyOf(request).then((content) => {
      if (met(path, request, response)) return;
      const { status, value } = answer(content);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    });
  });

  return {
    endpoint: addressOf(server),
    repos,
    commits,
    requests,
    faults,
    get hold() {
      return hub.hold;
    },
    set hold(promise) {
      hub.hold = promise;
    },
    close: async () => {
      await closed(server);
      await closed(store);
    },
  };
};

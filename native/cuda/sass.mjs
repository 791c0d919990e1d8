/**
 * What nvdisasm lists of a cubin, as functions of instructions: what each of them reads and writes of a thread's registers, and what may
 * come after it. Forms of instructions are those of sm_90 (CUDA 13).
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * nvdisasm: RXTUNE_NVDISASM, the one beside nvcc, on PATH, or of the Python that PYTHON names, whose package of triton carries one.
 * Undefined where there is none.
 */
export const findDisassembler = (nvcc) => {
  const script =
    'import glob, sysconfig; p = sysconfig.get_path("purelib"); ' +
    'print(*(glob.glob(p + "/nvidia/cu1*/bin/nvdisasm") + glob.glob(p + "/nvidia/*/bin/nvdisasm") + glob.glob(p + "/triton/backends/nvidia/bin/nvdisasm")))';
  const ofPython = () => {
    const { status, stdout } = spawnSync(process.env['PYTHON'] ?? 'python3', ['-c', script], { encoding: 'utf8' });
    return status === 0 ? stdout.trim().split(' ') : [];
  };
  const starts = (path) => path && spawnSync(path, ['--version'], { encoding: 'utf8' }).status === 0;
  const named = process.env['RXTUNE_NVDISASM'];
  if (named !== undefined) return starts(named) ? named : undefined;
  const beside = nvcc === undefined ? undefined : join(dirname(nvcc), 'nvdisasm');
  return (
    [beside !== undefined && existsSync(beside) && beside, 'nvdisasm', '/usr/local/cuda/bin/nvdisasm'].find(starts) ??
    ofPython().find(starts)
  );
};

/** The listing of a cubin's code. */
export const disassembled = (disassembler, cubin) => {
  const { status, stdout, stderr } = spawnSync(disassembler, ['-c', cubin], { encoding: 'utf8', maxBuffer: 1 << 30 });
  if (status !== 0) throw new Error(`${disassembler} failed (exit code ${status}): ${stderr.slice(0, 400)}`);
  return stdout;
};

/** These have a register first that they read; others that write none of a thread's have another thing there. */
const writesNone = /^(?:[IFDH]SETP2?|FCHK|R2P|BAR|BRX|RET|CALL|WARPSYNC|NANOSLEEP|EXIT|KILL|BPT)$/;

/** Registers of an accumulator: 64 rows by so many columns, of 128 threads. */
const accumulators = (opcode) => {
  const [, columns, , type] = /^HGMMA\.64x(\d+)x(\d+)\.(\w+)/.exec(opcode) ?? [];
  return (Number(columns) * 64) / 128 / (type === 'F16' ? 2 : 1);
};

/** How many registers an instruction's result takes. */
const width = (opcode) => {
  const [name] = opcode.split('.');
  if (name === 'HGMMA') return accumulators(opcode);
  if (/^[HI]MMA$/.test(name)) return 4;
  if (name === 'LDSM') return Number(/M?T?88\.(\d)/.exec(opcode)?.[1] ?? 1);
  if (/^(?:LD[GSCL]?|ATOM[GS]?)$/.test(name)) return opcode.includes('.128') ? 4 : opcode.includes('.64') ? 2 : 1;
  if (name === 'CS2R') return opcode.includes('.32') ? 1 : 2;
  if (/^(?:IMAD\.WIDE|D(?:ADD|MUL|FMA)|[FI]2F\.F64|F2I\.[US]64)/.test(opcode)) return 2;
  return 1;
};

const span = (first, count) => Array.from({ length: count }, (_, i) => first + i);
const registersIn = (operand) =>
  [...operand.matchAll(/(?<![A-Z])R(\d+)(\.64)?/g)].flatMap(([, number, pair]) =>
    span(Number(number), pair === undefined ? 1 : 2),
  );

/** Operands, split at commas that are in no bracket. */
const operandsOf = (text) => text.split(/,(?![^[(]*[\])])/).map((part) => part.trim());

const instruction = (at, text) => {
  const [, guard, opcode, rest = ''] = /^(@!?U?P\w+ )?([A-Z]\w*(?:\.\w+)*) *(.*)$/.exec(text) ?? [];
  if (opcode === undefined) throw new Error(`an instruction of another form than is known: ${text}`);
  const [name] = opcode.split('.');
  const operands = rest === '' ? [] : operandsOf(rest);
  const first = writesNone.test(name) ? -1 : operands.findIndex((operand) => !/^!?U?P(?:T|R|\d+)$/.test(operand));
  const [, target] = /^R(\d+)/.exec(operands[first] ?? '') ?? [];
  const isTarget = first >= 0 && /^R[\dZ]/.test(operands[first]);
  const sources = operands.filter((_, i) => !isTarget || i !== first);
  // What is stored is as wide as the store.
  const stored = /^ST[GSL]?$/.test(name) ? (opcode.includes('.128') ? 4 : opcode.includes('.64') ? 2 : 1) : 1;
  const read = sources.flatMap((operand) =>
    stored > 1 && /^R\d+/.test(operand) ? span(registersIn(operand)[0], stored) : registersIn(operand),
  );
  const found = {
    at,
    text,
    name,
    always: guard === undefined,
    writes: target === undefined ? [] : span(Number(target), width(opcode)),
    reads: read,
    labels: [...rest.matchAll(/`\(([^)]+)\)/g)].map(([, label]) => label),
    barrier: /^B(?:SSY|SYNC|REAK)$/.test(name) ? /^B\d+/.exec(operands[0] ?? '')?.[0] : undefined,
  };
  if (name === 'BRX') found.labels = /BRANCH_TARGETS ([^"]+)/.exec(rest)?.[1].split(',') ?? [];
  if (name !== 'HGMMA') return found;
  const [, left] = /^R(\d+)/.exec(operands[first + 1]) ?? [];
  return {
    ...found,
    product: {
      sums: found.writes,
      left: left === undefined ? [] : span(Number(left), 4),
      // The last one of a group.
      ends: operands.includes('gsb0'),
    },
  };
};

/** Which instructions may come after each: numbers of instructions. */
const successors = (instructions, labels) => {
  const regions = new Map();
  for (const { name, barrier, labels: to } of instructions)
    if (name === 'BSSY') regions.set(barrier, [...(regions.get(barrier) ?? []), labels.get(to[0])]);
  return instructions.map(({ name, always, labels: to, barrier }, i) => {
    const next = i + 1 < instructions.length ? [i + 1] : [];
    const targets = to.map((label) => labels.get(label)).filter((at) => at !== undefined);
    if (name === 'BRA')
      return [...targets, ...(always && to.length > 0 && !/\bU?P\d/.test(instructions[i].text) ? [] : next)];
    if (name === 'BRX') return targets;
    if (name === 'CALL') return [...targets, ...next];
    if (name === 'EXIT') return always ? [] : next;
    if (name === 'RET') return [];
    if (name === 'BSYNC') {
      const ends = regions.get(barrier) ?? [];
      return ends.includes(i + 1) ? next : ends;
    }
    return next;
  });
};

/** The functions of a listing: [{name, instructions, next}], next[i] the numbers of those that may come after instruction i. */
export const functionsOf = (listing) => {
  const found = [];
  let current;
  for (const line of listing.split('\n')) {
    const [, section] = /^\s*\.section\s+\.text\.([^,\s]+)/.exec(line) ?? [];
    if (section !== undefined) {
      current = { name: section, instructions: [], labels: new Map() };
      found.push(current);
      continue;
    }
    if (/^\s*\.section\b/.test(line)) current = undefined;
    if (current === undefined) continue;
    const [, label] = /^([.$\w]+):/.exec(line) ?? [];
    if (label !== undefined) current.labels.set(label, current.instructions.length);
    const [, at, text] = /^\s+\/\*([0-9a-f]{4,})\*\/\s+(.*?)\s*;?\s*$/.exec(line) ?? [];
    if (at !== undefined) current.instructions.push(instruction(at, text.replace(/\s*;.*$/, '')));
  }
  return found.map(({ name, instructions, labels }) => ({
    name,
    instructions,
    next: successors(instructions, labels),
  }));
};

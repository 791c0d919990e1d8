/**
 * tfjs-core, loaded when it is first asked for something: who only prepares rows never waits for it. It is required rather than
 * imported, because Node.js reads a CommonJS file through for the names it exports before it imports it; this one is over a megabyte,
 * and that alone takes four times as long as loading it.
 *
 * A function exported here stands for tfjs's own until its first call, and is tfjs's own from then on.
 */
import { createRequire } from 'node:module';
import type * as Tfjs from '@tensorflow/tfjs-core';
import { moduleUrl } from './moduleUrl.js';

type Library = typeof Tfjs;

type Functions = {
  readonly [K in keyof Library as Library[K] extends (...given: never) => unknown ? K : never]: Library[K];
};

const require = createRequire(moduleUrl(import.meta));

let loaded: Library | undefined;

/** All of it: for what is no function (names of kernels, classes), and not before it is needed. */
export const tfjs = (): Library => {
  if (loaded !== undefined) return loaded;
  loaded = require('@tensorflow/tfjs-core') as Library;
  stepIn(loaded);
  return loaded;
};

/** Registers a backend of tfjs's own. */
export const loadBackend = (name: 'cpu' | 'wasm'): void => {
  require(`@tensorflow/tfjs-backend-${name}`);
};

const standIn = <K extends keyof Functions>(name: K): Functions[K] => {
  const first = (...given: ReadonlyArray<unknown>): unknown =>
    (tfjs()[name] as (...given: ReadonlyArray<unknown>) => unknown)(...given);
  return first as Functions[K];
};

export let add = standIn('add');
export let addN = standIn('addN');
export let argMax = standIn('argMax');
export let cast = standIn('cast');
export let clone = standIn('clone');
export let concat = standIn('concat');
export let dispose = standIn('dispose');
export let div = standIn('div');
export let engine = standIn('engine');
export let env = standIn('env');
export let equal = standIn('equal');
export let erf = standIn('erf');
export let exp = standIn('exp');
export let expandDims = standIn('expandDims');
export let fill = standIn('fill');
export let gather = standIn('gather');
export let gatherND = standIn('gatherND');
export let getBackend = standIn('getBackend');
export let getKernel = standIn('getKernel');
export let getKernelsForBackend = standIn('getKernelsForBackend');
export let keep = standIn('keep');
export let log = standIn('log');
export let matMul = standIn('matMul');
export let max = standIn('max');
export let maximum = standIn('maximum');
export let mean = standIn('mean');
export let minimum = standIn('minimum');
export let mul = standIn('mul');
export let ones = standIn('ones');
export let range = standIn('range');
export let ready = standIn('ready');
export let registerBackend = standIn('registerBackend');
export let registerKernel = standIn('registerKernel');
export let relu = standIn('relu');
export let reshape = standIn('reshape');
export let rsqrt = standIn('rsqrt');
export let scalar = standIn('scalar');
export let setBackend = standIn('setBackend');
export let sigmoid = standIn('sigmoid');
export let sign = standIn('sign');
export let slice = standIn('slice');
export let softmax = standIn('softmax');
export let split = standIn('split');
export let sqrt = standIn('sqrt');
export let square = standIn('square');
export let squeeze = standIn('squeeze');
export let stack = standIn('stack');
export let step = standIn('step');
export let sub = standIn('sub');
export let sum = standIn('sum');
export let tanh = standIn('tanh');
export let tensor = standIn('tensor');
export let tensor1d = standIn('tensor1d');
export let tensor2d = standIn('tensor2d');
export let tidy = standIn('tidy');
export let transpose = standIn('transpose');
export let unregisterKernel = standIn('unregisterKernel');
export let unsortedSegmentSum = standIn('unsortedSegmentSum');
export let zeros = standIn('zeros');

const stepIn = (library: Library): void => {
  ({
    add,
    addN,
    argMax,
    cast,
    clone,
    concat,
    dispose,
    div,
    engine,
    env,
    equal,
    erf,
    exp,
    expandDims,
    fill,
    gather,
    gatherND,
    getBackend,
    getKernel,
    getKernelsForBackend,
    keep,
    log,
    matMul,
    max,
    maximum,
    mean,
    minimum,
    mul,
    ones,
    range,
    ready,
    registerBackend,
    registerKernel,
    relu,
    reshape,
    rsqrt,
    scalar,
    setBackend,
    sigmoid,
    sign,
    slice,
    softmax,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    step,
    sub,
    sum,
    tanh,
    tensor,
    tensor1d,
    tensor2d,
    tidy,
    transpose,
    unregisterKernel,
    unsortedSegmentSum,
    zeros,
  } = library);
};

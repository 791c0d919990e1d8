/** The commands of `rxtune`, in the order in which its help shows them. What a command needs is loaded when it is called. */
import type { NamedCommand } from './command.js';

export const commands: ReadonlyArray<NamedCommand> = [
  {
    name: 'sft',
    summary: 'fine-tune a model on a dataset',
    load: async () => (await import('./sft.js')).sftCommand,
  },
  {
    name: 'prepare',
    summary: 'write the rows of a dataset as they would be trained on',
    load: async () => (await import('./prepare.js')).prepareCommand,
  },
  {
    name: 'inspect',
    summary: 'tell whether a dataset is fit to train on, and show its rows token by token',
    load: async () => (await import('./inspect.js')).inspectCommand,
  },
  {
    name: 'generate',
    summary: 'continue a text or answer a conversation',
    load: async () => (await import('./generate.js')).generateCommand,
  },
  {
    name: 'evaluate',
    summary: 'tell the loss, perplexity and token accuracy of a model on a dataset',
    load: async () => (await import('./evaluate.js')).evaluateCommand,
  },
  {
    name: 'merge',
    summary: 'write a model with its adapter added in',
    load: async () => (await import('./merge.js')).mergeCommand,
  },
  {
    name: 'quantize',
    summary: 'write a model in 4 or 8 bits (GPTQ), and tell its perplexity before and after',
    load: async () => (await import('./quantize.js')).quantizeCommand,
  },
  {
    name: 'export',
    summary: 'write a model, its adapter added in, for llama.cpp (GGUF) or transformers',
    load: async () => (await import('./export.js')).exportCommand,
  },
  {
    name: 'push',
    summary: 'upload a model or adapter to the Hugging Face Hub',
    load: async () => (await import('./push.js')).pushCommand,
  },
  {
    name: 'doctor',
    summary: 'tell which engines are there, which one would run, and why',
    load: async () => (await import('./doctor.js')).doctorCommand,
  },
];

/**
 * The prompt of Stanford Alpaca (tatsu-lab/stanford_alpaca, train.py), character for character. The answer follows directly,
 * without a space or line feed of its own.
 */
export const alpacaPrompt = (instruction: string, input = ''): string =>
  input === ''
    ? 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' +
      `### Instruction:\n${instruction}\n\n### Response:`
    : 'Below is an instruction that describes a task, paired with an input that provides further context. ' +
      'Write a response that appropriately completes the request.\n\n' +
      `### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`;

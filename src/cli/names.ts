/** `perDeviceTrainBatchSize` → `per-device-train-batch-size`; `loadIn8bit` → `load-in-8bit`. */
export const kebab = (name: string): string => name.replace(/[A-Z]|\d+(?=[a-z])/g, (part) => `-${part.toLowerCase()}`);

/** `per-device-train-batch-size` or `per_device_train_batch_size` → `perDeviceTrainBatchSize`. */
export const camel = (name: string): string =>
  name.replace(/(?<=.)[-_]+(.)/g, (_, letter: string) => letter.toUpperCase());

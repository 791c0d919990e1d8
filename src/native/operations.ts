/** Names of the operations of the engine; native/cc/ops/ lists each with its arguments, in the order in which they are put. */
export const operationNames = [
  'linear',
  'linearGradInput',
  'linearGradWeight',
  'loraLinear',
  'loraLinearGrad',
  'matMul',
  'add',
  'axpy',
  'scale',
  'binary',
  'unary',
  'fill',
  'rowSum',
  'columnSum',
  'squaredNorm',
  'gatherRows',
  'scatterRows',
  'copyColumns',
  'bfloat16',
  'embedding',
  'embeddingGrad',
  'layerNorm',
  'layerNormGrad',
  'rmsNorm',
  'rmsNormGrad',
  'rope',
  'attention',
  'attentionGrad',
  'activation',
  'activationGrad',
  'gatedActivation',
  'gatedActivationGrad',
  'dropout',
  'linearCrossEntropy',
  'adamW',
] as const;

export type OperationName = (typeof operationNames)[number];

/** Numbers of the operations, by name. */
export type Operations = Readonly<Record<OperationName, number>>;

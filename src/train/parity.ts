import type { SftConfig } from './config.js';

export const isParity = ({ parity }: Pick<SftConfig, 'parity'>): boolean => parity === 'trl-0.7.10';

import ms from 'ms';

export const describe = (duration) => `${duration} is ${ms(duration)} ms`;

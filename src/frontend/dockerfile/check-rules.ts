export const CHECK_RULES: readonly { readonly name: string; readonly experimental: boolean }[] = [];

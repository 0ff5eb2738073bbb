-- Removes the registry of scopes.
drop table threads;
drop table users;
drop table namespaces;
drop table settings;

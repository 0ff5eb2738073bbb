-- What must be true before anything is created: a new enough server, UTF-8, pgvector; then the roles.
do $$
declare
    v_server integer := current_setting('server_version_num')::integer;
begin
    if v_server < 140000 then
        raise exception using
            errcode = 'KM013',
            message = format('PostgreSQL %s is too old for kompanion_db', current_setting('server_version')),
            hint    = 'Use PostgreSQL 14 or later.';
    end if;
    if current_setting('server_encoding') <> 'UTF8' then
        raise exception using
            errcode = 'KM013',
            message = format('the database is encoded in %s, kompanion_db needs UTF8', current_setting('server_encoding')),
            hint    = 'Create one: create database memory encoding ''UTF8'' template template0;';
    end if;
end
$$;

-- A dump that was restored without its data leaves our objects without the record that they are there.
do $$
begin
    if to_regclass('kompanion.memory_items') is not null then
        raise exception using
            errcode = 'KM014',
            message = 'schema kompanion is there, but its record of migrations is empty',
            detail  = 'A dump restored without its data leaves it so; settings are missing, too.',
            hint    = 'If no memory is in it: drop schema kompanion cascade; then migrate again. Else restore the data of kompanion._yoyo_migration and the other tables, too.';
    end if;
end
$$;

-- pgvector: created here when the role may; any schema will do when a DBA has created it before.
do $$
declare
    v_version text;
begin
    select x.extversion into v_version from pg_extension x where x.extname = 'vector';
    if v_version is null then
        begin
            create extension vector with schema public;
        exception
            when insufficient_privilege then
                raise exception using
                    errcode = 'KM013',
                    message = 'the extension vector is missing and this role may not create it',
                    detail  = format('Role: %I, database: %I.', current_user, current_database()),
                    hint    = 'Ask a DBA to run in this database: create extension vector;';
            when invalid_schema_name then
                raise exception using
                    errcode = 'KM013',
                    message = 'the extension vector is missing, and there is no schema public to create it in',
                    hint    = 'Create it in another one: create schema extensions; create extension vector schema extensions;';
            when undefined_file or feature_not_supported then
                raise exception using
                    errcode = 'KM013',
                    message = 'pgvector is not installed on this server',
                    hint    = 'Install pgvector 0.6 or later (package postgresql-NN-pgvector), then migrate again.';
        end;
        select x.extversion into v_version from pg_extension x where x.extname = 'vector';
    end if;
    if (string_to_array(substring(v_version from '^[0-9.]+'), '.')::integer[])[1:2] < array[0, 6] then
        raise exception using
            errcode = 'KM013',
            message = format('pgvector %s is too old for kompanion_db', v_version),
            hint    = 'Install pgvector 0.6 or later, then run: alter extension vector update;';
    end if;
end
$$;

-- Its schema is on the path of every function, see _install_path: a function there whose types fit a call better than
-- the server's own of that name is called in its place, with the rights of whoever called ours.
do $$
declare
    v_schema text;
begin
    select n.nspname into v_schema
    from pg_extension x
    join pg_namespace n on n.oid = x.extnamespace
    where x.extname = 'vector' and exists (select 1 from aclexplode(n.nspacl) a where a.grantee = 0 and a.privilege_type = 'CREATE');
    if found then
        raise warning using
            message = format('everybody may create objects in schema %I, which is searched by the functions of kompanion_db', v_schema),
            hint    = format('Unless you trust every role: revoke create on schema %I from public;', v_schema);
    end if;
end
$$;

-- The functions run as their caller, who therefore needs pgvector too. Its type and functions are everybody's, unless default
-- privileges took them away before it was created, or its schema is closed.
do $$
declare
    v_schema constant text := (select n.nspname from pg_extension x join pg_namespace n on n.oid = x.extnamespace where x.extname = 'vector');
begin
    if not (has_schema_privilege('public', v_schema, 'usage')
            and has_type_privilege('public', format('%I.vector', v_schema), 'usage')
            and has_function_privilege('public', format('%1$I.vector_dims(%1$I.vector)', v_schema), 'execute')) then
        raise warning using
            message = format('the extension vector in schema %I is not open to everybody', v_schema),
            hint    = format('Unless they may use it already: grant usage on schema %1$I to %2$s; grant usage on type %1$I.vector to %2$s; '
                             'grant execute on all functions in schema %1$I to %2$s;', v_schema,
                             'kompanion_reader, kompanion_writer, kompanion_admin');
    end if;
end
$$;

comment on schema kompanion is
    'The memory of AI companions and agents: items with revisions, chunks, embeddings, scoped search. Start with \df+ kompanion.*';

-- Three roles without login, to be granted to the roles people and programs log in with.
-- Roles belong to the whole cluster, so a rollback leaves them.
do $$
declare
    v_role text;
    v_can  boolean := (select r.rolsuper or r.rolcreaterole from pg_roles r where r.rolname = current_user);
begin
    foreach v_role in array array['kompanion_reader', 'kompanion_writer', 'kompanion_admin'] loop
        if exists (select 1 from pg_roles r where r.rolname = v_role) then
            continue;
        elsif v_can then
            begin
                execute format('create role %I nologin', v_role);
            exception when duplicate_object or unique_violation then
                null;  -- another database of this cluster is being migrated at this moment
            end;
        else
            -- Not a notice: install.psql shows warnings only.
            raise warning using
                message = format('role %I is missing and %I may not create it', v_role, current_user),
                hint    = 'Create it, then run as the owner of the schema: select kompanion.grant_roles();';
        end if;
    end loop;
end
$$;

create function kompanion._install_path()
    returns text
    language sql
    stable
as $_install_path$
    -- The search_path every function here is pinned to: our schema, the one that holds pgvector, temporary tables last.
    select 'kompanion, ' || pg_catalog.quote_ident(n.nspname::text) || ', pg_temp'
    from pg_catalog.pg_extension x
    join pg_catalog.pg_namespace n on n.oid = x.extnamespace
    where x.extname = 'vector'
$_install_path$;
revoke all on function kompanion._install_path() from public;
comment on function kompanion._install_path() is
    'Internal. The search_path that migrations pin on functions; finds the schema of the extension vector.';
